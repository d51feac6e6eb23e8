//! Whom the files belong to that the children of root create.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crossmist::{SandboxPolicy, func};

use crate::recipe;
use crate::support::{Case, Directory};

pub(crate) const CASES: &[Case] = cases![
    files_of_roots_children_belong_to_whom_the_page_says needs Root,
];

#[func(sandbox = dynamic)]
fn writes(path: String) -> Result<(), Option<i32>> {
    std::fs::write(path, "x").map_err(|error| error.raw_os_error())
}

fn files_of_roots_children_belong_to_whom_the_page_says() {
    let same = recipe("Files that root's children create");
    let own = same.narrow(&[("process.user", "own")]).unwrap();
    let directory = Directory::new();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let folder = directory.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let write = |policy: &SandboxPolicy, name: &str| {
        let builder = writes.sandbox(policy);
        let builder = builder.bind("folder", folder.to_str().unwrap());
        builder
            .run(folder.join(name).to_str().unwrap().to_owned())
            .unwrap()
    };
    let owner = |name: &str| Path::new(&folder).join(name).metadata().unwrap().uid();
    let mode = |mode| std::fs::set_permissions(&folder, PermissionsExt::from_mode(mode)).unwrap();

    // Root's folder is for root: another user gets nowhere.
    mode(0o755);
    assert_eq!(write(&same, "same"), Ok(()));
    assert_eq!(owner("same"), 0);
    assert_eq!(write(&own, "first"), Err(Some(libc::EACCES)));

    // A folder that everybody may write to, and where nobody may remove the files of others.
    mode(0o1777);
    assert_eq!(write(&own, "first"), Ok(()));
    assert_eq!(write(&own, "second"), Ok(()));
    assert!(owner("first") != 0 && owner("second") != 0);
    assert_ne!(owner("first"), owner("second"));
    // The next child is a stranger to it.
    assert_eq!(write(&own, "first"), Err(Some(libc::EACCES)));
    // Root without its capabilities is one as well.
    assert_eq!(write(&same, "first"), Err(Some(libc::EACCES)));
}
