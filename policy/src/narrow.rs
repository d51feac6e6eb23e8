//! Makes a policy stricter where it is used.

use std::fmt;

use crate::file::{Target, parse_entry};
use crate::policy::Policy;
use crate::resolve::{Grant, Origin};
use crate::settings::{SETTINGS, Setting};
use crate::steps::SecondNet;

/// Why a policy cannot be narrowed in this way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NarrowError {
    /// There is no such key.
    UnknownKey {
        /// The key as it was written.
        key: String,
        /// The key that was probably meant.
        near: Option<&'static str>,
    },
    /// The key can't have this value.
    BadValue {
        /// The key.
        key: String,
        /// The fault in the value.
        reason: String,
    },
    /// The value allows more than the policy.
    Widens {
        /// The key.
        key: String,
        /// The value in the policy.
        policy: String,
        /// The requested value.
        asked: String,
        /// [`Policy::raise`] accepts the value.
        can_be_raised: bool,
    },
}

impl fmt::Display for NarrowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey {
                key,
                near: Some(near),
            } => {
                write!(
                    f,
                    "a policy has no `{key}` to narrow; did you mean `{near}`?"
                )
            }
            Self::UnknownKey { key, near: None } => {
                let keys: Vec<_> = keys().collect();
                write!(
                    f,
                    "a policy has no `{key}` to narrow; its keys are {}",
                    keys.join(", ")
                )
            }
            Self::BadValue { key, reason } => write!(f, "`{key}`: {reason}"),
            Self::Widens {
                key,
                policy,
                asked,
                can_be_raised,
            } => {
                write!(
                    f,
                    "`{key} = {asked}` allows more than the policy's `{key} = {policy}`: a call can only \
                     narrow its policy; to widen it, "
                )?;
                match can_be_raised {
                    true => write!(f, "raise it: `raise({key} = {asked:?})`"),
                    false => write!(f, "write a policy that extends this one"),
                }
            }
        }
    }
}

impl std::error::Error for NarrowError {}

fn keys() -> impl Iterator<Item = &'static str> {
    let narrowable = SETTINGS.iter().filter(|setting| is_narrowable(setting));
    narrowable
        .map(|setting| setting.key)
        .chain(["deny", "require"])
}

/// The settings of the other tables stand for groups of calls, which `deny` removes.
fn is_narrowable(setting: &Setting) -> bool {
    !["syscalls", "filesystem", "network"].contains(&setting.table)
}

impl Policy {
    /// Returns the policy with some values made stricter: limits, switches and choices under their
    /// keys, `deny` with a call or a group to remove, and `require` with a second net to insist on.
    ///
    /// ```
    /// use crossmist_policy::Policy;
    ///
    /// let parser = Policy::builtin("parser")?;
    /// let quick = parser.narrow(&[("wall_time", "2s"), ("threads", "0"), ("deny", "madvise")])?;
    /// assert!(quick.narrow(&[("wall_time", "3s")]).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A [`NarrowError`] if a key is unknown, a value cannot be read, or a value allows more than
    /// the policy does.
    pub fn narrow(&self, changes: &[(&str, &str)]) -> Result<Self, NarrowError> {
        let mut policy = self.clone();
        for (key, value) in changes {
            if *key == "deny" {
                policy.deny(value)?;
                continue;
            }
            if ["require", "kernel.require"].contains(key) {
                policy.insist(key, value)?;
                continue;
            }
            let bare = key.rsplit('.').next().unwrap_or(key);
            let found = SETTINGS.iter().position(|setting| {
                let named = setting.key == bare && (bare == *key || setting.full_name() == **key);
                named && is_narrowable(setting)
            });
            let Some(index) = found else {
                let near = crate::diagnostic::nearest(key, keys());
                return Err(NarrowError::UnknownKey {
                    key: (*key).to_owned(),
                    near,
                });
            };
            let setting = &SETTINGS[index];
            let wanted = setting
                .read(value)
                .map_err(|reason| NarrowError::BadValue {
                    key: (*key).to_owned(),
                    reason,
                })?;
            if setting.allows_more(wanted, policy.value(index)) {
                return Err(NarrowError::Widens {
                    key: (*key).to_owned(),
                    policy: setting.write(policy.value(index)),
                    asked: (*value).to_owned(),
                    can_be_raised: self.raise(&[(*key, *value)]).is_ok(),
                });
            }
            policy.values.0[index] = wanted;
        }
        Ok(policy)
    }

    fn insist(&mut self, key: &str, name: &str) -> Result<(), NarrowError> {
        let bad = |reason: String| NarrowError::BadValue {
            key: key.to_owned(),
            reason,
        };
        let net = SecondNet::from_name(name).ok_or_else(|| {
            let known = SecondNet::ALL.map(SecondNet::name);
            bad(format!(
                "`{name}` isn't a second net; the second nets are {}",
                known.join(", ")
            ))
        })?;
        if let Some(reason) = self.contradiction(net) {
            return Err(bad(format!("`{net}` can't be required: {reason}")));
        }
        self.require.push((net, None));
        Ok(())
    }

    fn deny(&mut self, entry: &str) -> Result<(), NarrowError> {
        let bad = |reason: String| NarrowError::BadValue {
            key: "deny".to_owned(),
            reason,
        };
        let (target, answer) = parse_entry(entry).map_err(|mistake| bad(mistake.into_message()))?;
        if answer.is_some() {
            return Err(bad("a denial has no answer".to_owned()));
        }
        let origin = Origin::call_site();
        match target {
            Target::Call(call, condition) => {
                let rules = self.calls.entry(call.name).or_default();
                rules.deny.push(Grant { condition, origin });
            }
            Target::Group(group) => {
                for entry in group.entries {
                    let name = entry.split('(').next().unwrap_or(entry);
                    self.deny(name)?;
                }
            }
        }
        Ok(())
    }
}
