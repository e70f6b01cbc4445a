//! Sign-in, roles and rate limits in front of every route.
//!
//! [`guard()`] finds the access rule of the route in [`rules`], identifies the caller and checks its role,
//! before any body is read. Without `EXECUTION_BACKEND_API_USER` sign-in is off and every caller has all
//! permissions, which the configuration accepts only outside production, and beyond loopback only with
//! `SIGN_IN=off`. `docs/security.md` has the threat model.

pub mod api_keys;
pub mod client;
pub mod credentials;
pub mod document;
pub mod failures;
mod guard;
pub mod identity;
mod jwt;
pub mod key_limits;
pub mod rates;
pub mod rejection;
pub mod rules;
mod sign_in;
pub mod token;

pub use guard::{AuditTarget, guard};
pub use identity::{Caller, Identity, QuotaKey, SignedInBy};
pub use rejection::AuthRejection;
pub use sign_in::{Auth, FAILURES_OF_A_NAME, FAILURES_OF_AN_ADDRESS};
