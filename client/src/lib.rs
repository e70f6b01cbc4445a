//! A Rust client of Tasker's HTTP API.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use tasker_client::{Client, authorization};
//!
//! let client = Client::new("http://127.0.0.1:8000".parse()?, authorization()?)?;
//! let task = serde_json::json!({"task_name": "echo", "parameters": {"hello": "world"}});
//! println!("{}", client.post(&["tasks", "submit"], &task).await?);
//! # Ok(())
//! # }
//! ```

mod credentials;
mod error;
mod http;

pub use credentials::{CredentialsError, authorization};
pub use error::ClientError;
pub use http::{Client, parse_url};
