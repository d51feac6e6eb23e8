//! Raises sizes and times of a policy where it is used.

use std::fmt;

use crate::policy::Policy;
use crate::settings::{Kind, SETTINGS, Setting};

/// Why a policy cannot be raised in this way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RaiseError {
    /// No size and no time has this key.
    UnknownKey {
        /// The key as it was written.
        key: String,
    },
    /// The key can't have this value.
    BadValue {
        /// The key.
        key: String,
        /// The fault in the value.
        reason: String,
    },
    /// The policy allows as much already.
    RaisesNothing {
        /// The key.
        key: String,
        /// The value in the policy.
        policy: String,
        /// The requested value.
        asked: String,
    },
    /// A policy that this one stays within allows less.
    BeyondCeiling {
        /// The key.
        key: String,
        /// The most that all of them allow.
        most: String,
        /// The requested value.
        asked: String,
    },
}

impl fmt::Display for RaiseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { key } => {
                let keys: Vec<_> = raisable().map(|setting| setting.key).collect();
                write!(
                    f,
                    "`{key}` can't be raised, only {}: to allow more of anything else, write a policy that \
                     extends this one",
                    keys.join(", ")
                )
            }
            Self::BadValue { key, reason } => write!(f, "`{key}`: {reason}"),
            Self::RaisesNothing { key, policy, asked } => write!(
                f,
                "`{key} = {asked}` raises nothing, because the policy has `{key} = {policy}`: leave it out, or \
                 write it outside of `raise` to lower the limit"
            ),
            Self::BeyondCeiling { key, most, asked } => write!(
                f,
                "`{key} = {asked}` is more than `{key} = {most}`, which a policy allows that this one stays \
                 `within`: a call can't go beyond that"
            ),
        }
    }
}

impl std::error::Error for RaiseError {}

/// A limit that a use of a policy raises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raised {
    /// Its name, with that of its table.
    pub key: String,
    /// The value in the policy.
    pub from: String,
    /// The value of the use.
    pub to: String,
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, from, to } = self;
        write!(f, "`{key}` from {from} to {to}")
    }
}

/// Limits on files, core dumps, locked memory and processes are not among them: these bound the effect on others.
const FIXED: &[&str] = &["file_size", "core", "locked_memory"];

fn raisable() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| {
        let is_limit = setting.table == "limits" || setting.table == "limits.channel";
        let is_amount = matches!(setting.kind, Kind::Size | Kind::Time);
        is_limit && is_amount && !FIXED.contains(&setting.key)
    })
}

impl Policy {
    /// Returns the policy with some sizes and times of its limits raised, and what that changes.
    ///
    /// It goes no further than the policies that this one stays `within`, and raises no right.
    ///
    /// ```
    /// use crossmist_policy::Policy;
    ///
    /// let parser = Policy::builtin("parser")?;
    /// let (patient, raised) = parser.raise(&[("wall_time", "5min")])?;
    /// assert_eq!((raised[0].from.as_str(), raised[0].to.as_str()), ("1min", "5min"));
    /// assert!(patient.narrow(&[("wall_time", "90s")]).is_ok());
    /// assert!(parser.raise(&[("processes", "1")]).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A [`RaiseError`] if a key can't be raised, a value can't be read or raises nothing, or a ceiling of the policy
    /// allows less.
    pub fn raise(&self, changes: &[(&str, &str)]) -> Result<(Self, Vec<Raised>), RaiseError> {
        let mut policy = self.clone();
        let mut raised = Vec::with_capacity(changes.len());
        for (key, value) in changes {
            let found =
                raisable().find(|setting| setting.key == *key || setting.full_name() == *key);
            let found = found.and_then(|setting| {
                let index = crate::settings::index_of(setting.table, setting.key)?;
                Some((setting, index))
            });
            let key = (*key).to_owned();
            let Some((setting, index)) = found else {
                return Err(RaiseError::UnknownKey { key });
            };
            let wanted = match setting.read(value) {
                Ok(wanted) => wanted,
                Err(reason) => return Err(RaiseError::BadValue { key, reason }),
            };
            let (own, most) = (policy.value(index), policy.most.0[index]);
            let asked = setting.write(wanted);
            if wanted <= own {
                let policy = setting.write(own);
                return Err(RaiseError::RaisesNothing { key, policy, asked });
            }
            if wanted > most {
                let most = setting.write(most);
                return Err(RaiseError::BeyondCeiling { key, most, asked });
            }
            raised.push(Raised {
                key: setting.full_name(),
                from: setting.write(own),
                to: asked,
            });
            policy.values.0[index] = wanted;
        }
        Ok((policy, raised))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Folder;
    use crate::library::BuiltinOnly;

    fn policy(text: &str) -> Policy {
        let text = format!("format = 1\ndescription = \"x\"\n{text}");
        Policy::from_toml(&BuiltinOnly, "test", &text).unwrap()
    }

    #[test]
    fn sizes_and_times_are_raised_and_nothing_else_changes() {
        let parser = Policy::builtin("parser").unwrap();
        let changes = [
            ("wall_time", "5min"),
            ("limits.channel.message_bytes", "256MiB"),
        ];
        let (raised, told) = parser.raise(&changes).unwrap();
        let told: Vec<_> = told.iter().map(|raised| raised.key.as_str()).collect();
        assert_eq!(told, ["limits.wall_time", "limits.channel.message_bytes"]);
        let before = parser.compile().unwrap();
        let after = raised.compile().unwrap();
        assert_eq!(
            after.limits.wall_time,
            Some(std::time::Duration::from_secs(300))
        );
        let mut same = after.clone();
        same.limits = before.limits.clone();
        same.channel = before.channel.clone();
        assert_eq!(same, before);
    }

    #[test]
    fn a_limit_may_be_taken_away() {
        let (raised, _) = policy("extends = [\"parser\"]")
            .raise(&[("wall_time", "none")])
            .unwrap();
        assert_eq!(raised.compile().unwrap().limits.wall_time, None);
    }

    #[test]
    fn rights_and_counts_are_not_raised() {
        let parser = Policy::builtin("pure").unwrap();
        for (key, value) in [
            ("processes", "5"),
            ("threads", "5"),
            ("open_files", "100"),
            ("file_size", "1MiB"),
            ("core", "1MiB"),
            ("locked_memory", "1MiB"),
            ("control_group", "none"),
            ("user", "same"),
            ("metadata", "read"),
            ("deny", "madvise"),
            ("nonsense", "1"),
        ] {
            let error = parser.raise(&[(key, value)]).unwrap_err();
            assert!(
                matches!(error, RaiseError::UnknownKey { .. }),
                "{key}: {error}"
            );
        }
    }

    #[test]
    fn the_reference_names_what_can_be_raised_and_nothing_else() {
        let named = |table: &str| {
            let tables = crate::keys::TABLES.iter();
            let about = tables
                .filter(|(name, _)| *name == table)
                .map(|(_, about)| about);
            let about: String = about.copied().collect();
            let settings = SETTINGS.iter().filter(|setting| setting.table == table);
            let named = settings.filter(|setting| about.contains(&format!("`{}`", setting.key)));
            named.map(|setting| setting.key).collect::<Vec<_>>()
        };
        let can_be = raisable().map(|setting| setting.key).collect::<Vec<_>>();
        assert_eq!([named("limits"), named("limits.channel")].concat(), can_be);
    }

    #[test]
    fn what_raises_nothing_is_refused() {
        let parser = Policy::builtin("parser").unwrap();
        for value in ["60s", "1s"] {
            let error = parser.raise(&[("wall_time", value)]).unwrap_err();
            assert!(matches!(error, RaiseError::RaisesNothing { .. }), "{error}");
        }
        let error = parser.raise(&[("wall_time", "60")]).unwrap_err();
        assert!(matches!(error, RaiseError::BadValue { .. }), "{error}");
    }

    #[test]
    fn no_ceiling_is_exceeded_however_far_above_it_is() {
        let folder = std::env::temp_dir().join(format!("crossmist-raise-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (name, rest) in [
            (
                "top",
                "extends = [\"parser\"]\n[limits]\nwall_time = \"90s\"\n",
            ),
            ("middle", "extends = [\"parser\"]\nwithin = \"top\"\n"),
            ("bottom", "extends = [\"middle\"]\n"),
            ("below", "extends = [\"parser\"]\nwithin = \"middle\"\n"),
        ] {
            let text = format!("format = 1\ndescription = \"x\"\n{rest}");
            std::fs::write(folder.join(format!("{name}.toml")), text).unwrap();
        }
        let load = |name| Policy::load(&Folder::new(&folder), name).unwrap();
        for name in ["middle", "bottom"] {
            // The control.
            assert!(load(name).raise(&[("wall_time", "90s")]).is_ok(), "{name}");
            let error = load(name).raise(&[("wall_time", "91s")]).unwrap_err();
            assert!(
                matches!(error, RaiseError::BeyondCeiling { .. }),
                "{name}: {error}"
            );
        }
        // What its ceiling has as its own value is the most.
        let error = load("below").raise(&[("wall_time", "61s")]).unwrap_err();
        assert!(matches!(error, RaiseError::BeyondCeiling { .. }), "{error}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
