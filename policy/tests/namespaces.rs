//! The namespaces of policies, and their consequences in every tool.

use crossmist_policy::diff::{self, Direction};
use crossmist_policy::namespaces::{Namespace, UserWish, Wish};
use crossmist_policy::steps::{Layer, STEPS};
use crossmist_policy::{
    BuiltinOnly, Code, Compiled, Folder, Kernel, Library, Missing, Policy, Text,
};

const NO_NETWORK: &str = "[namespaces]\nnetwork = 'none'\n";

/// Lines that let a child create internet sockets of any kind.
const SOCKETS: &str = "[syscalls]\nallow = [\
     { call = 'socket(domain in {AF_INET, AF_INET6})', why = 'x' }, \
     { call = 'connect', why = 'x' }, { call = 'bind', why = 'x' }]\n";

fn policy(text: &str) -> Policy {
    let text = format!("format = 1\ndescription = 'x'\nextends = ['parser']\n{text}");
    Policy::from_toml(&BuiltinOnly, "text", &text).unwrap_or_else(|report| panic!("{report}"))
}

#[test]
fn no_built_in_policy_has_a_namespace_unless_it_is_asked_for() {
    for name in Policy::builtin_names() {
        let namespaces = Policy::builtin(name).unwrap().compile().unwrap().namespaces;
        for namespace in Namespace::ALL {
            assert_eq!(
                namespaces.wish(namespace),
                Wish::Shared,
                "{name}, {namespace}"
            );
        }
        assert_eq!(namespaces.user, UserWish::IfNeeded, "{name}");
    }
}

#[test]
fn each_namespace_is_one_step_and_is_named_by_its_key() {
    for namespace in Namespace::ALL {
        let is_it =
            |step: &&crossmist_policy::steps::Step| step.layer == Layer::Namespace(namespace);
        assert_eq!(STEPS.iter().filter(is_it).count(), 1, "{namespace}");
        let text = format!("[namespaces]\n{namespace} = 'if-possible'\n");
        let compiled = policy(&text).compile().unwrap();
        assert_eq!(compiled.namespaces.wish(namespace), Wish::IfPossible);
    }
}

#[test]
fn a_policy_with_namespaces_survives_the_round_trip() {
    let compiled = policy(NO_NETWORK).compile().unwrap();
    assert_eq!(compiled.namespaces.wish(Namespace::Network), Wish::Own);
    assert_eq!(Compiled::from_bytes(&compiled.to_bytes()), Ok(compiled));
}

#[test]
fn a_network_of_its_own_takes_the_place_of_landlocks_rights_on_ports() {
    assert_eq!(policy(SOCKETS).required_abi(), 4);
    assert_eq!(policy(&format!("{SOCKETS}{NO_NETWORK}")).required_abi(), 0);
    // A network namespace that may be missing does not replace Landlock.
    let maybe = NO_NETWORK.replace("none", "if-possible");
    assert_eq!(policy(&format!("{SOCKETS}{maybe}")).required_abi(), 4);
}

#[test]
fn processes_of_its_own_take_the_place_of_landlocks_scope_for_signals() {
    let kill = "[syscalls]\nallow = [{ call = 'kill', why = 'x' }]\n";
    assert_eq!(policy(kill).required_abi(), 6);
    let alone = format!("{kill}[namespaces]\npid = 'own'\n");
    assert_eq!(policy(&alone).required_abi(), 0);
}

#[test]
fn what_is_not_protected_is_said_with_the_network_in_mind() {
    let is_open = |text: &str| {
        let residual = policy(text).overview().residual;
        residual
            .iter()
            .find(|one| one.what == "UDP")
            .unwrap()
            .is_open
    };
    assert!(is_open(SOCKETS));
    assert!(!is_open(&format!("{SOCKETS}{NO_NETWORK}")));
    assert!(!is_open("[network]\nudp_connect = [53]\n"));
}

#[test]
fn children_are_in_one_network_only_if_they_cannot_meet_in_it() {
    let shares = |text: &str| {
        let text = format!("{text}{NO_NETWORK}");
        policy(&text)
            .compile()
            .unwrap()
            .namespaces
            .network_can_be_shared
    };
    assert!(shares(""));
    // A TCP socket that only connects takes no port where there is no way.
    assert!(shares("[network]\ntcp_connect = [443]\n"));
    assert!(!shares("[network]\ntcp_bind = [443]\n"));
    assert!(!shares("[network]\nudp_connect = [53]\n"));
    assert!(!shares(SOCKETS));
    for family in ["AF_UNIX", "AF_NETLINK"] {
        let text = SOCKETS.replace("AF_INET6", family);
        assert!(!shares(&text), "{family}");
    }
    assert!(!shares(
        "[syscalls]\nallow = [{ call = 'socket', why = 'x' }]\n"
    ));
}

#[test]
fn to_share_a_network_is_wider_than_to_have_none() {
    let (none, shared) = (policy(NO_NETWORK), policy(""));
    let changes = diff::between(&none, &shared);
    let said: Vec<_> = changes
        .iter()
        .map(|change| (change.direction, change.to_string()))
        .collect();
    let wider = "`namespaces.network` none → shared";
    assert!(
        said.iter()
            .any(|(direction, text)| *direction == Direction::Wider && text.contains(wider)),
        "{said:?}"
    );

    let narrowed = shared.narrow(&[("namespaces.network", "none")]).unwrap();
    assert!(diff::between(&none, &narrowed).is_empty());
    let refused = none
        .narrow(&[("network", "if-possible")])
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("allows more than the policy's"),
        "{refused}"
    );
}

#[test]
fn a_ceiling_without_network_holds() {
    struct Ceiling;
    impl Library for Ceiling {
        fn fetch(&self, name: &str) -> Result<Text, Missing> {
            let text = format!("format = 1\nextends = ['parser']\n{NO_NETWORK}");
            match name {
                "ceiling" => Ok(Text {
                    label: name.to_owned(),
                    path: None,
                    text,
                }),
                _ => BuiltinOnly.fetch(name),
            }
        }
    }
    let text = |rest: &str| format!("format = 1\nextends = ['parser']\nwithin = 'ceiling'\n{rest}");
    let read = |rest: &str| Policy::from_toml(&Ceiling, "text", &text(rest));
    assert!(read(NO_NETWORK).is_ok());
    let report = read("").unwrap_err();
    assert_eq!(report.diagnostics()[0].code, Code::NotWithin);
    assert!(
        report.to_string().contains("namespaces.network"),
        "{report}"
    );
}

#[test]
fn a_port_that_cannot_be_reached_is_noticed() {
    let text = "format = 1\ndescription = 'x'\nextends = ['network-client']\n[network]\ntcp_connect = [443]\n";
    let read = |text: &str| Policy::from_toml(&BuiltinOnly, "text", text).unwrap();
    let says = |policy: Policy| {
        let found = policy.lint(|_| None).given;
        found.iter().any(|one| one.code == Code::UnreachablePort)
    };
    assert!(!says(read(text)));
    assert!(says(read(&format!("{text}{NO_NETWORK}"))));
    // The samples are also read from the folder.
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/samples/good");
    assert!(Policy::load(&Folder::new(folder), "namespaces").is_ok());
}

#[test]
fn the_oldest_kernel_of_a_policy_has_all_its_steps() {
    for (lines, runs_on, too_old) in [
        ("", "Linux 5.11 or newer, with or without Landlock", "5.10"),
        (
            "[namespaces]\nmount = \"own\"\n",
            "Linux 5.12 or newer, with or without Landlock",
            "5.11",
        ),
        // It is older than what every policy needs.
        (
            "[namespaces]\npid = \"own\"\n",
            "Linux 5.11 or newer, with or without Landlock",
            "5.10",
        ),
        // The child runs without it.
        (
            "[namespaces]\nmount = \"if-possible\"\n",
            "Linux 5.11 or newer, with or without Landlock",
            "5.10",
        ),
        (
            "[filesystem]\nread = [\"/usr\"]\n[namespaces]\nmount = \"own\"\n",
            "Linux 5.13 or newer, with Landlock ABI 1",
            "5.12",
        ),
    ] {
        let text = format!("format = 1\nextends = [\"parser\"]\n{lines}");
        let policy = Policy::from_toml(&BuiltinOnly, "text", &text)
            .unwrap_or_else(|report| panic!("{report}"));
        let overview = policy.overview();
        assert_eq!(overview.runs_on(), runs_on, "{lines}");
        let release = runs_on.trim_start_matches("Linux ");
        let release = release.split(' ').next().unwrap_or_default();
        let kernel = |release: &str| Kernel::of_release(release).unwrap_or_else(|| panic!());
        assert!(policy.check_kernel(&kernel(release)).is_ok(), "{lines}");
        let compiled = policy.compile().unwrap_or_else(|report| panic!("{report}"));
        assert!(compiled.check_kernel(&kernel(release)).is_ok(), "{lines}");
        assert!(compiled.check_kernel(&kernel(too_old)).is_err(), "{lines}");
        assert!(policy.check_kernel(&kernel(too_old)).is_err(), "{lines}");
    }
}
