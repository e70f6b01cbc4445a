//! The limits of the contract for workflows.

use std::time::Duration;

use tasker_core::task::limits;

/// Maximum size of the text of a definition in bytes, with the aliases of YAML expanded.
pub const DEFINITION_BYTES: usize = 1 << 20;
/// Maximum nesting of a definition.
pub const DEPTH: usize = limits::JSON_DEPTH;
/// Maximum number of steps of a definition.
pub const STEPS: usize = 1_000;
/// Maximum length of the name of a definition, step or environment, in bytes.
pub const NAME_BYTES: usize = 128;
/// Maximum length of a namespace in bytes: its queue is `{namespace}_queue`, a name of at most 64.
pub const NAMESPACE_BYTES: usize = 58;
/// Maximum length of a version in bytes, which is part of a key.
pub const VERSION_BYTES: usize = 128;
/// Maximum length of a description in characters.
pub const DESCRIPTION_CHARS: usize = 1_000;
/// Maximum length of the name of an instance, in characters.
pub const INSTANCE_NAME_CHARS: usize = 255;
/// Maximum number of parts of a reference's path.
pub const REFERENCE_PARTS: usize = 64;
/// Maximum size of the resolved inputs of one step, in bytes of JSON.
pub const INPUT_BYTES: usize = 16 << 20;
/// Maximum number of attempts of a step, the first one included.
pub const ATTEMPTS: u32 = limits::MAX_RETRIES.unsigned_abs() + 1;
/// Maximum timeout of one attempt, and maximum wait between two attempts.
pub const TIMEOUT: Duration = limits::TIMEOUT;
/// Maximum deadline, counted from the start.
pub const DEADLINE: Duration = limits::DELAY;
/// Number of edges into one join from which on completions are written in a lane of their own.
pub const WIDE_JOIN: usize = 128;
/// Maximum size of the normalised JSON of a definition in bytes: its edges carry their policies, so it can be
/// longer than the text.
pub const NORMALISED_BYTES: usize = 4 * DEFINITION_BYTES;
