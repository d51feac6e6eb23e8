//! Reviews of a change show dangerous grants, and advice that the authors do not follow.

use crate::support::Folder;

const HEAD: &str = "format = 1\ndescription = \"x\"\nextends = [\"parser\"]\n\
                    [[expect]]\nsyscall = \"socket(AF_INET, SOCK_STREAM, 0)\"\nis = \"violation\"\n";

#[test]
fn the_page_begins_with_what_is_dangerous_and_lists_nothing_else_there() {
    let folder = Folder::new("dangers");
    folder.write(
        "policies/p.toml",
        format!(
            "{HEAD}[filesystem]\nread = [{{ path = \"/usr/share/x\", why = \"tables\" }}]\n\
             [capabilities]\nkeep = [\"NET_RAW\"]\nwhy = \"a probe\"\n\
             [syscalls]\nallow = [\"chroot\"]\n\
             [syscalls.dangerous]\n\"chroot\" = \"a jail\"\n"
        ),
    );
    folder.run(&["explain", "p", "--html", "p.html"]).ends(0);
    let page = std::fs::read_to_string(folder.0.join("p.html")).unwrap();
    let (_, section) = page.split_once("<h2>Dangerous grants</h2>").unwrap();
    let (section, _) = section.split_once("</section>").unwrap();
    for part in ["CAP_NET_RAW", "a probe", "chroot", "a jail"] {
        assert!(section.contains(part), "{part}: {section}");
    }
    assert_eq!(section.matches("<tr>").count(), 2, "{section}");
    // The control: the page has the harmless grant elsewhere.
    assert!(page.contains("tables"));
}

#[test]
fn allowing_advice_is_not_silent() {
    let folder = Folder::new("allowing");
    let wide = format!("{HEAD}[filesystem]\nread = [\"/usr\"]\n");
    let allowance = "[[allow_lint]]\nlint = \"C021\"\nwhy = \"fonts\"\n";
    folder.write("policies/old.toml", &wide);
    folder.write("policies/new.toml", format!("{wide}{allowance}"));
    let check = |name: &str| folder.run(&["check", name, "--strict"]);
    // The control.
    check("old").ends(1).says(&["C021"]);
    let checked = check("new");
    checked
        .ends(0)
        .says(&["0 pieces of advice, 1 allowed by `[[allow_lint]]`"]);
    let diff = folder.run(&["diff", "old", "new", "--fail-on", "any"]);
    diff.ends(1).says(&[
        "moved",
        "advice C021 about the whole file is allowed: fonts",
    ]);
}
