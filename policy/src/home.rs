//! Finds the policies of a crate, in the same way for the macro and for the tools.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

/// The folder of policies, if neither the crate nor its workspace names another.
const FOLDER: &str = "policies";

/// The environment variable that names the folder of policies. It takes precedence.
pub const VARIABLE: &str = "CROSSMIST_POLICY_DIR";

/// Returns the folder of a crate's policies. `named` is the value of [`VARIABLE`], and `manifest`
/// the folder of the crate's `Cargo.toml`.
///
/// It is the first of these: what the variable names, `[package.metadata.crossmist] policies` in
/// the manifest, `policies/` beside it, and `policies/` beside the manifest of the nearest
/// workspace.
///
/// # Errors
///
/// A text, if neither is set, or if a manifest on the way cannot be read.
pub fn find(named: Option<PathBuf>, manifest: Option<PathBuf>) -> Result<PathBuf, String> {
    if let Some(folder) = named {
        // A relative path would mean one thing here, and another where the files are watched.
        return match folder.is_absolute() {
            true => Ok(folder),
            false => Err(format!(
                "{VARIABLE} is `{}`, and has to be an absolute path",
                folder.display()
            )),
        };
    }
    let manifest = manifest.ok_or_else(|| {
        format!(
            "policies are found by cargo's CARGO_MANIFEST_DIR, or by {VARIABLE}; neither is set"
        )
    })?;
    let own = manifest.join(FOLDER);
    // Without a manifest, such as under a compiler that cargo did not start, there is only that
    // folder.
    let Some(table) = read_manifest(&manifest)? else {
        return Ok(own);
    };
    match table.policies {
        Some(Ok(folder)) => return Ok(manifest.join(folder)),
        Some(Err(())) => {
            return Err(
                "`package.metadata.crossmist.policies` in Cargo.toml is a path, in quotes"
                    .to_owned(),
            );
        }
        None if own.is_dir() => return Ok(own),
        None => {}
    }
    // Only the nearest workspace counts, not one around it.
    for folder in manifest.ancestors() {
        if read_manifest(folder)?.is_some_and(|manifest| manifest.is_workspace) {
            let policies = folder.join(FOLDER);
            return Ok(if policies.is_dir() { policies } else { own });
        }
    }
    Ok(own)
}

/// The parts of a manifest that matter here.
struct Manifest {
    is_workspace: bool,
    /// The folder that it names, or an error if that is not a string.
    policies: Option<Result<String, ()>>,
}

/// Reads the manifest in a folder, if there is one.
fn read_manifest(folder: &Path) -> Result<Option<Manifest>, String> {
    let path = folder.join("Cargo.toml");
    let unreadable =
        |error: &dyn std::fmt::Display| format!("{} can't be read: {error}", path.display());
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(&error)),
    };
    let table = DeTable::parse(&text).map_err(|error| unreadable(&error))?;
    let table = table.get_ref();
    let keys = ["package", "metadata", "crossmist"].iter();
    let ours = keys
        .clone()
        .try_fold(table, |table, key| match table.get(*key)?.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => None,
        });
    let policies = ours.and_then(|table| table.get("policies"));
    Ok(Some(Manifest {
        is_workspace: table.contains_key("workspace"),
        policies: policies.map(|value| match value.get_ref() {
            DeValue::String(folder) => Ok(folder.clone().into_owned()),
            _ => Err(()),
        }),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of manifests and empty folders, removed in the end.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, manifests: &[(&str, &str)], folders: &[&str]) -> Self {
            let root =
                std::env::temp_dir().join(format!("crossmist-{name}-{}", std::process::id()));
            for folder in folders {
                std::fs::create_dir_all(root.join(folder)).unwrap();
            }
            for (folder, text) in manifests {
                std::fs::create_dir_all(root.join(folder)).unwrap();
                std::fs::write(root.join(folder).join("Cargo.toml"), text).unwrap();
            }
            Self(root)
        }

        fn find(&self, from: &str) -> Result<PathBuf, String> {
            let found = find(None, Some(self.0.join(from)))?;
            Ok(found.strip_prefix(&self.0).unwrap().to_owned())
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_crates_own_folder_comes_before_the_nearest_workspaces() {
        let tree = Tree::new(
            "nearest",
            &[
                ("", "[workspace]"),
                ("inner", "# [workspace] of its own\n[workspace]"),
                ("inner/own", "[package]"),
                ("inner/none", "[package]"),
                ("other", "[package]"),
            ],
            &["policies", "inner/own/policies", "inner/none"],
        );
        assert_eq!(tree.find("inner/own"), Ok("inner/own/policies".into()));
        assert_eq!(tree.find("other"), Ok("policies".into()));
        // The workspace around its own is not its business.
        assert_eq!(tree.find("inner/none"), Ok("inner/none/policies".into()));
    }

    #[test]
    fn a_manifest_may_name_the_folder_in_each_way_that_toml_has() {
        for text in [
            "[package.metadata.crossmist]\npolicies = \"strict\"",
            "[package.metadata]\ncrossmist = { policies = \"strict\" }",
            "[package]\nmetadata.crossmist.policies = \"strict\"",
        ] {
            let tree = Tree::new("named", &[("a", text)], &["a/policies"]);
            assert_eq!(tree.find("a"), Ok("a/strict".into()), "{text}");
        }
        let wrong = "[package.metadata.crossmist]\npolicies = 5";
        let tree = Tree::new("wrong", &[("a", wrong)], &["a/policies"]);
        assert!(tree.find("a").unwrap_err().contains("in quotes"));
        let broken = Tree::new("broken", &[("a", "[package")], &["a/policies"]);
        assert!(broken.find("a").unwrap_err().contains("can't be read"));
    }

    #[test]
    fn the_variable_comes_first_and_is_absolute() {
        assert_eq!(find(Some("/p".into()), Some("/m".into())), Ok("/p".into()));
        assert!(
            find(Some("p".into()), None)
                .unwrap_err()
                .contains("absolute")
        );
        assert!(find(None, None).unwrap_err().contains("neither"));
    }
}
