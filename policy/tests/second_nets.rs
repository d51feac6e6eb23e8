//! Second nets in policies, and statements about kernels: the same in every tool.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use crossmist_policy::diff::{self, Direction};
use crossmist_policy::landlock::NEWEST_ABI;
use crossmist_policy::steps::{self, SecondNet};
use crossmist_policy::{BuiltinOnly, Code, Kernel, Policy, Report, Unenforceable};

fn read(text: &str) -> Result<Policy, Report> {
    let text = format!("format = 1\ndescription = 'x'\nextends = ['pure']\n{text}");
    Policy::from_toml(&BuiltinOnly, "text", &text)
}

fn policy(text: &str) -> Policy {
    read(text).unwrap_or_else(|report| panic!("{report}"))
}

fn release(text: &str) -> Kernel {
    Kernel::of_release(text).unwrap()
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn document(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

#[test]
fn what_needs_no_landlock_runs_on_every_kernel_that_has_the_wall() {
    for (text, missing) in [
        ("5.11", &SecondNet::ALL[..]),
        (
            "6.1.0-32-amd64",
            &[
                SecondNet::DenyWriteExecute,
                SecondNet::LandlockNet,
                SecondNet::LandlockScope,
            ],
        ),
        ("6.3", &[SecondNet::LandlockNet, SecondNet::LandlockScope]),
        ("6.12", &[]),
        ("7.2", &[]),
    ] {
        for name in ["pure", "parser", "worker"] {
            let policy = Policy::builtin(name).unwrap();
            assert_eq!(policy.check_kernel(&release(text)), Ok(()), "{name}");
            let compiled = policy.compile().unwrap();
            assert_eq!(compiled.check_kernel(&release(text)), Ok(()), "{name}");
            assert_eq!(
                compiled.missing_on(&release(text)),
                missing,
                "{name}, {text}"
            );
        }
    }
}

#[test]
fn no_policy_runs_below_the_oldest_kernel() {
    for name in Policy::builtin_names() {
        let refused = Policy::builtin(name)
            .unwrap()
            .check_kernel(&release("5.10"));
        let text = refused.unwrap_err().to_string();
        assert!(
            text.contains("close_range") && text.contains("Linux 5.11"),
            "{text}"
        );
    }
}

#[test]
fn a_required_second_net_is_part_of_what_the_policy_needs() {
    for net in SecondNet::ALL {
        let policy = policy(&format!("[kernel]\nrequire = ['{net}']"));
        let compiled = policy.compile().unwrap();
        assert!(compiled.requires(net));
        let since = net.step().since;
        let without = release(&format!("{}.{}", since.major, since.minor - 1));
        let has = release(&format!("{}.{}", since.major, since.minor));
        assert_eq!(compiled.check_kernel(&has), Ok(()));
        for refused in [
            policy.check_kernel(&without),
            compiled.check_kernel(&without),
        ] {
            let Err(Unenforceable::SecondNet(required)) = &refused else {
                panic!("{refused:?}");
            };
            assert_eq!((required.net, required.line.as_str()), (net, "text:5"));
        }
        assert_eq!(policy.required_abi(), net.landlock_abi());
        let overview = policy.overview();
        assert!(
            overview.runs_on().starts_with(&since.to_string()),
            "{}",
            overview.runs_on()
        );
        let line = overview.second_nets.iter().find(|(known, _)| *known == net);
        assert_eq!(line.unwrap().1.as_deref(), Some("text:5"));
    }
}

#[test]
fn a_requirement_is_inherited_and_its_loss_is_wider() {
    let (with, without) = (policy("[kernel]\nrequire = ['landlock-fs']"), policy(""));
    let changes = diff::between(&with, &without);
    let [change] = changes.as_slice() else {
        panic!("{changes:?}");
    };
    assert_eq!(change.direction, Direction::Wider);
    assert_eq!(change.what, ["running without `landlock-fs`"]);
    let changes = diff::between(&without, &with);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].direction, Direction::Narrower);
    assert!(diff::between(&with, &with).is_empty());
}

#[test]
fn a_call_can_insist_where_its_policy_does_not() {
    let narrowed = policy("").narrow(&[("require", "landlock-net")]).unwrap();
    let required = narrowed.requirements();
    assert_eq!(required.len(), 1);
    assert_eq!(required[0].net, SecondNet::LandlockNet);
    assert_eq!(required[0].line, "the place where the policy is used");
    let compiled = narrowed.compile().unwrap();
    assert!(compiled.requires(SecondNet::LandlockNet));
    let written_and_read = crossmist_policy::Compiled::from_bytes(&compiled.to_bytes());
    assert_eq!(written_and_read.unwrap(), compiled);
    for (name, reason) in [
        ("seccomp", "isn't a second net"),
        (
            "deny_write_execute",
            "`process.deny_write_execute` is false",
        ),
    ] {
        let loose = policy("[process]\ndeny_write_execute = false");
        let refused = loose.narrow(&[("require", name)]).unwrap_err().to_string();
        assert!(refused.contains(reason), "{refused}");
    }
}

#[test]
fn a_requirement_that_the_policy_itself_contradicts_is_a_mistake() {
    for (net, rest) in [
        ("landlock-fs", "landlock = 'off'"),
        ("landlock-fs", "[filesystem]\nunconfined = 'why'"),
        ("landlock-net", "[network]\nunconfined = 'why'"),
        (
            "landlock-scope",
            "[scope]\nsignal = 'open'\nabstract_unix = 'open'",
        ),
        (
            "deny_write_execute",
            "[process]\ndeny_write_execute = false",
        ),
    ] {
        let with = |require: &str| read(&format!("[kernel]\n{require}\n{rest}"));
        // The control: each is a policy without the requirement.
        with("").unwrap_or_else(|report| panic!("{report}"));
        let report = with(&format!("require = ['{net}']")).unwrap_err();
        let codes: Vec<_> = report.diagnostics().iter().map(|d| d.code).collect();
        assert_eq!(codes, [Code::BadRequirement], "{report}");
    }
}

#[test]
fn a_wish_for_an_abi_is_held_by_the_policy_and_by_what_is_compiled_of_it() {
    let policy = policy("[kernel]\nlandlock = 5");
    let compiled = policy.compile().unwrap();
    for answer in [
        policy.check_kernel(&release("6.9")),
        compiled.check_kernel(&release("6.9")),
    ] {
        let text = answer.unwrap_err().to_string();
        assert!(text.contains("ABI 5") && text.contains("text:5"), "{text}");
    }
    assert_eq!(compiled.check_kernel(&release("6.10")), Ok(()));
}

#[test]
fn a_kernel_newer_than_the_tables_is_used_as_the_newest() {
    let newer = Kernel {
        landlock_abi: NEWEST_ABI + 1,
        ..release("9.9")
    };
    for name in Policy::builtin_names() {
        let compiled = Policy::builtin(name).unwrap().compile().unwrap();
        assert_eq!(compiled.check_kernel(&newer), Ok(()), "{name}");
        assert!(compiled.missing_on(&newer).is_empty(), "{name}");
    }
}

#[test]
fn the_table_in_the_security_document_is_the_one_in_the_code() {
    let text = document("SECURITY.md");
    let table = steps::table();
    let first = table.lines().next().unwrap();
    let (before, rest) = text.split_once(first).expect("the table is there");
    let (_, after) = rest.split_once("\n\n").unwrap();
    let whole = format!("{before}{table}\n{after}");
    if std::env::var_os("CROSSMIST_BLESS").is_some() {
        std::fs::write(path("SECURITY.md"), &whole).unwrap();
        return;
    }
    assert!(
        whole == text,
        "`CROSSMIST_BLESS=1 cargo test -p crossmist-policy` writes SECURITY.md's table anew:\n{table}"
    );
}

#[test]
fn the_documents_name_the_oldest_kernel() {
    let least = format!("{} or newer", steps::oldest_kernel());
    for name in ["README.md", "src/lib.rs"] {
        assert!(
            document(name).contains(&least),
            "{name} doesn't say {least}"
        );
    }
}
