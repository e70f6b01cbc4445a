//! Who a request comes from, and what that lets them do.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tasker_shared::http::counted_as;
use tasker_shared::role::Role;
use tasker_shared::store::api_keys::ApiKeyGrant;
use tasker_shared::task::QueueName;

use super::rejection::AuthRejection;
use crate::error::ApiError;

/// Task types that act on the deployment itself, so that submitting them takes an operator.
const TASKS_OF_OPERATORS: [&str; 2] = ["task:backup", "service:command"];

/// How somebody signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedInBy {
    /// Not at all: there is no sign-in.
    Anonymous,
    /// By name and password.
    Password,
    /// By a token.
    Token,
    /// By an API key.
    Key,
}

/// Somebody who signed in, or everybody where there is no sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name in logs and in the history of tasks: a user's own, `key:<name>` for an API key, `api` for everybody.
    pub name: Arc<str>,
    /// What they may do.
    pub role: Role,
    /// The queues that they may see and use; nothing for all.
    pub queues: Option<Vec<QueueName>>,
    /// How they signed in.
    pub by: SignedInBy,
}

impl Identity {
    /// Everybody, where there is no sign-in.
    pub fn anonymous() -> Self {
        Self {
            name: "api".into(),
            role: Role::Admin,
            queues: None,
            by: SignedInBy::Anonymous,
        }
    }

    /// Whoever has the API key that grants this.
    pub fn of_key(grant: ApiKeyGrant) -> Self {
        Self {
            // no user's name holds a colon, so nobody passes for somebody else
            name: format!("key:{}", grant.name).into(),
            role: grant.role,
            queues: grant.queues,
            by: SignedInBy::Key,
        }
    }
}

/// Who is counted together, where one of them may take only so much.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum QuotaKey {
    /// Whoever signed in by this name.
    Name(Arc<str>),
    /// Whoever did not, from this address (of `IPv6`: its network).
    Address(IpAddr),
}

/// Whoever a request comes from. A handler takes it as an argument; every route that is not open has one.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// The address of the client.
    pub address: IpAddr,
}

impl Caller {
    /// The name in logs and in the history of tasks.
    pub fn name(&self) -> &str {
        &self.identity.name
    }

    /// Whom their requests are counted with.
    pub fn counted(&self) -> QuotaKey {
        match self.identity.by {
            SignedInBy::Anonymous => QuotaKey::Address(counted_as(self.address)),
            _ => QuotaKey::Name(Arc::clone(&self.identity.name)),
        }
    }

    /// The queues that they are held to; nothing for none.
    pub fn queues(&self) -> Option<&[QueueName]> {
        self.identity.queues.as_deref()
    }

    /// Whether they may see and use `queue`.
    pub fn may_use(&self, queue: &QueueName) -> bool {
        self.queues().is_none_or(|queues| queues.contains(queue))
    }

    /// Refuses a queue that they may not use.
    pub fn check(&self, queue: &QueueName) -> Result<(), AuthRejection> {
        if self.may_use(queue) {
            Ok(())
        } else {
            Err(AuthRejection::Queue(queue.clone()))
        }
    }

    /// Refuses a task that they may not submit.
    pub fn check_submit(&self, task_name: &str, queue: &QueueName) -> Result<(), AuthRejection> {
        let has = self.identity.role;
        if TASKS_OF_OPERATORS.contains(&task_name) && has < Role::Operator {
            let needs = Role::Operator;
            return Err(AuthRejection::Role { has, needs });
        }
        self.check(queue)
    }

    /// The queues that a list is narrowed to: the one that was asked for, or all that they may see; nothing for all there are.
    pub fn visible(&self, asked: Option<QueueName>) -> Result<Option<Vec<QueueName>>, AuthRejection> {
        match asked {
            Some(queue) => self.check(&queue).map(|()| Some(vec![queue])),
            None => Ok(self.identity.queues.clone()),
        }
    }

    /// The queue that an action on many tasks is narrowed to: the one that was asked for, or their only one.
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
        caller.ok_or_else(|| ApiError::Internal("an open route asked who calls".to_owned()))
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
    fn what_acts_on_the_deployment_itself_is_submitted_by_operators_alone() {
        let (queue, held) = (QueueName::low(), Some(vec![QueueName::low()]));
        let with = |role| Caller {
            identity: Arc::new(Identity {
                role,
                queues: held.clone(),
                ..Identity::anonymous()
            }),
            address: Ipv4Addr::LOCALHOST.into(),
        };
        for task_name in TASKS_OF_OPERATORS {
            assert!(matches!(
                with(Role::Submitter).check_submit(task_name, &queue),
                Err(AuthRejection::Role { .. })
            ));
            assert_eq!(with(Role::Operator).check_submit(task_name, &queue), Ok(()));
            assert!(
                with(Role::Operator)
                    .check_submit(task_name, &QueueName::high())
                    .is_err()
            );
        }
        assert_eq!(with(Role::Submitter).check_submit("noop", &queue), Ok(()));
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
