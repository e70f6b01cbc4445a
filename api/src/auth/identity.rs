//! The caller of a request and its permissions.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tasker_core::role::Role;
use tasker_core::task::QueueName;
use tasker_platform::http::counted_as;
use tasker_store::api_keys::ApiKeyGrant;

use super::rejection::AuthRejection;
use crate::error::ApiError;

/// The method of sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedInBy {
    /// Sign-in is off.
    Anonymous,
    /// By name and password.
    Password,
    /// By a token.
    Token,
    /// By an API key.
    Key,
}

/// A signed-in user or API key, or the anonymous identity where sign-in is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name in logs and in the history of tasks: the user's, `key:<name>` for an API key, `api` where
    /// sign-in is off.
    pub name: Arc<str>,
    /// The role, which decides the permitted routes.
    pub role: Role,
    /// The allowed queues; `None` for all.
    pub queues: Option<Vec<QueueName>>,
    /// The method of sign-in.
    pub by: SignedInBy,
}

impl Identity {
    /// Returns the identity of every caller where sign-in is off.
    pub fn anonymous() -> Self {
        Self {
            name: "api".into(),
            role: Role::Admin,
            queues: None,
            by: SignedInBy::Anonymous,
        }
    }

    /// Returns the identity of an API key.
    pub fn of_key(grant: ApiKeyGrant) -> Self {
        Self {
            // user names cannot contain a colon, so a user cannot impersonate a key
            name: format!("key:{}", grant.name).into(),
            role: grant.role,
            queues: grant.queues,
            by: SignedInBy::Key,
        }
    }
}

/// The key under which rate limits and memory quotas count a caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum QuotaKey {
    /// A signed-in caller.
    Name(Arc<str>),
    /// An anonymous caller, by address (of `IPv6`: its network).
    Address(IpAddr),
}

/// The caller of a request. An extractor for handlers; the middleware sets it on every route that is not
/// open.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The identity.
    pub identity: Arc<Identity>,
    /// The address of the client.
    pub address: IpAddr,
}

impl Caller {
    /// Returns the name in logs and in the history of tasks.
    pub fn name(&self) -> &str {
        &self.identity.name
    }

    /// Returns the key that rate limits and quotas count this caller under.
    pub fn quota_key(&self) -> QuotaKey {
        match self.identity.by {
            SignedInBy::Anonymous => QuotaKey::Address(counted_as(self.address)),
            _ => QuotaKey::Name(Arc::clone(&self.identity.name)),
        }
    }

    /// Returns the allowed queues, or `None` if all are allowed.
    pub fn queues(&self) -> Option<&[QueueName]> {
        self.identity.queues.as_deref()
    }

    /// Returns true if the caller may see and use `queue`.
    pub fn may_use(&self, queue: &QueueName) -> bool {
        self.queues().is_none_or(|queues| queues.contains(queue))
    }

    /// Returns an error unless the caller may use `queue`.
    pub fn check(&self, queue: &QueueName) -> Result<(), AuthRejection> {
        if self.may_use(queue) {
            Ok(())
        } else {
            Err(AuthRejection::Queue(queue.clone()))
        }
    }

    /// Returns an error unless the caller may submit to `queue` a task whose type requires the role
    /// `required`.
    pub fn check_submit(&self, required: Option<Role>, queue: &QueueName) -> Result<(), AuthRejection> {
        let has = self.identity.role;
        match required {
            Some(needs) if has < needs => Err(AuthRejection::Role { has, needs }),
            _ => self.check(queue),
        }
    }

    /// Returns the queues that a list is filtered by: the requested one, else all allowed ones; `None` for no
    /// filter.
    pub fn visible(&self, asked: Option<QueueName>) -> Result<Option<Vec<QueueName>>, AuthRejection> {
        match asked {
            Some(queue) => self.check(&queue).map(|()| Some(vec![queue])),
            None => Ok(self.identity.queues.clone()),
        }
    }

    /// Returns the queue that a bulk action is restricted to: the requested one, else the only allowed one.
    /// With several allowed queues the request has to name one.
    pub fn narrowed(&self, asked: Option<QueueName>) -> Result<Option<QueueName>, AuthRejection> {
        match (self.queues(), asked) {
            (_, Some(queue)) => self.check(&queue).map(|()| Some(queue)),
            (None, None) => Ok(None),
            (Some([only]), None) => Ok(Some(only.clone())),
            (Some(_), None) => Err(AuthRejection::QueueNeeded),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| ApiError::Internal("an open route extracted its caller".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn caller(queues: Option<Vec<QueueName>>) -> Caller {
        Caller {
            identity: Arc::new(Identity {
                queues,
                ..Identity::anonymous()
            }),
            address: Ipv4Addr::LOCALHOST.into(),
        }
    }

    #[test]
    fn who_is_held_to_queues_uses_no_others() {
        let (high, low) = (QueueName::high(), QueueName::low());
        let held = caller(Some(vec![high.clone()]));
        assert!(held.may_use(&high) && !held.may_use(&low));
        assert!(caller(None).may_use(&low));
    }

    #[test]
    fn a_submit_takes_the_role_that_its_type_requires_and_a_queue_of_the_caller() {
        let (queue, held) = (QueueName::low(), Some(vec![QueueName::low()]));
        let with = |role| Caller {
            identity: Arc::new(Identity {
                role,
                queues: held.clone(),
                ..Identity::anonymous()
            }),
            address: Ipv4Addr::LOCALHOST.into(),
        };
        let required = Some(Role::Operator);
        let (has, needs) = (Role::Submitter, Role::Operator);
        assert_eq!(
            with(has).check_submit(required, &queue),
            Err(AuthRejection::Role { has, needs })
        );
        assert_eq!(with(Role::Operator).check_submit(required, &queue), Ok(()));
        assert_eq!(with(Role::Admin).check_submit(required, &queue), Ok(()));
        let other = QueueName::high();
        assert_eq!(
            with(Role::Operator).check_submit(required, &other),
            Err(AuthRejection::Queue(other))
        );
        assert_eq!(with(Role::Submitter).check_submit(None, &queue), Ok(()));
    }

    #[test]
    fn an_action_on_many_tasks_stays_within_the_queues() {
        let (high, low) = (QueueName::high(), QueueName::low());
        let one = caller(Some(vec![high.clone()]));
        assert!(matches!(one.narrowed(None), Ok(Some(queue)) if queue == high));
        assert!(matches!(one.narrowed(Some(low.clone())), Err(AuthRejection::Queue(queue)) if queue == low));
        let two = caller(Some(vec![high.clone(), low]));
        assert!(matches!(two.narrowed(None), Err(AuthRejection::QueueNeeded)));
        assert!(matches!(two.narrowed(Some(high.clone())), Ok(Some(queue)) if queue == high));
        assert!(matches!(caller(None).narrowed(None), Ok(None)));
    }
}
