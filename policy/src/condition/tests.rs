//! The meaning of conditions, and texts that are no conditions.

use super::{Condition, parse};
use crate::diagnostic::Code;
use crate::{Arch, syscalls};

fn read(call: &str, text: &str) -> Result<Condition, Code> {
    parse(text, syscalls::find(call).unwrap()).map_err(|mistake| mistake.code)
}

fn holds(call: &str, text: &str, args: [u64; 6]) -> bool {
    read(call, text).unwrap().holds(Arch::X86_64, &args, 4711)
}

#[test]
fn only_has_and_lacks_look_at_all_bits_of_the_argument() {
    let prot = |text, prot| holds("mprotect", text, [0, 0, prot, 0, 0, 0]);
    assert!(prot("prot only PROT_READ|PROT_WRITE", 3));
    assert!(!prot("prot only PROT_READ|PROT_WRITE", 7));
    assert!(!prot("prot only PROT_READ|PROT_WRITE", 1 << 40));
    assert!(prot("prot has PROT_READ", 5));
    assert!(!prot("prot has PROT_READ|PROT_WRITE", 5));
    assert!(!prot("prot lacks PROT_EXEC", 5));
}

#[test]
fn a_32_bit_argument_is_compared_as_the_kernel_reads_it() {
    let garbage_above = [0xdead_beef_0000_0001, 1, 0, 0, 0, 0];
    assert!(holds("socket", "domain == AF_UNIX", garbage_above));
    assert!(!holds("socket", "domain != AF_UNIX", garbage_above));
    assert!(holds(
        "openat",
        "dirfd == AT_FDCWD",
        [(-100i64) as u64, 0, 0, 0, 0, 0]
    ));
}

#[test]
fn alternatives_sets_masks_and_the_own_pid_mean_what_they_say() {
    let text = "op & FUTEX_CMD_MASK in {FUTEX_WAIT, FUTEX_WAKE} || val == 7";
    assert!(holds("futex", text, [0, 0x81, 0, 0, 0, 0]));
    assert!(!holds("futex", text, [0, 6, 0, 0, 0, 0]));
    assert!(holds("futex", text, [0, 6, 7, 0, 0, 0]));
    assert!(holds(
        "tgkill",
        "tgid == self.pid && sig == SIGABRT",
        [4711, 1, 6, 0, 0, 0]
    ));
    assert!(!holds(
        "tgkill",
        "tgid == self.pid && sig == SIGABRT",
        [4712, 1, 6, 0, 0, 0]
    ));
    assert!(holds("read", "count < 10", [0, 0, 9, 0, 0, 0]));
    assert!(!holds("read", "count <= 9", [0, 0, 10, 0, 0, 0]));
}

#[test]
fn constants_differ_by_architecture() {
    let condition = read("openat", "flags == O_DIRECTORY").unwrap();
    assert!(condition.holds(Arch::X86_64, &[0, 0, 0x10000, 0, 0, 0], 1));
    assert!(condition.holds(Arch::Aarch64, &[0, 0, 0x4000, 0, 0, 0], 1));
}

#[test]
fn what_cannot_be_judged_is_refused_with_the_reason() {
    let code = |call, text| read(call, text).unwrap_err();
    assert_eq!(code("openat", "path == 3"), Code::PointerCompared);
    assert_eq!(code("openat", "path & 3 == 3"), Code::PointerCompared);
    assert_eq!(code("openat", "pathh == NULL"), Code::UnknownArgument);
    assert_eq!(code("clock_gettime", "clockid < 3"), Code::SignedOrder);
    assert_eq!(
        code("openat", "flags only O_RDONLYY"),
        Code::UnknownConstant
    );
    assert_eq!(code("openat", "flags == 0x100000000"), Code::BadOperand);
    assert_eq!(
        code("openat", "flags & O_CREAT == O_EXCL"),
        Code::BadOperand
    );
    // Neither of some of these bits nor of all.
    assert_eq!(code("semctl", "arg & 0xf has 0x10"), Code::BadOperand);
    assert_eq!(code("semctl", "arg & 0xf has 0x18"), Code::BadOperand);
    assert!(read("semctl", "arg & 0xf has 8").is_ok());
    assert!(read("semctl", "arg & 0xf lacks 0x18").is_ok());
    assert!(read("semctl", "arg & 0xf only 0x18").is_ok());
    assert_eq!(code("openat", "flags has 0"), Code::BadOperand);
    assert_eq!(code("openat", "(flags == 0)"), Code::BadCondition);
    assert_eq!(code("openat", "flags = 0"), Code::BadCondition);
    assert_eq!(code("openat", "flags == 0 &&"), Code::BadCondition);
    assert_eq!(code("openat", ""), Code::BadCondition);
    assert_eq!(code("openat", "flags == é"), Code::BadCondition);
}

#[test]
fn tests_that_exclude_each_other_are_refused() {
    for text in [
        "cmd == 1 && cmd == 2",
        "cmd == 1 && cmd != 1",
        "cmd in {1, 2} && cmd in {3, 4}",
        "arg < 4 && arg >= 4",
        "arg == 7 && arg < 7",
        "cmd has 1 && cmd lacks 3",
        "cmd == 1 && semid == 2 && cmd & 2 == 2",
        "cmd in {1, 2} && cmd != 1 && cmd != 2",
        "cmd in {1, 2} && cmd & 1 == 0 && cmd & 2 == 0",
        "arg only 3 && arg > 3",
        "arg has 8 && arg < 8",
        // Bounds and several masks.
        "arg & 0xf0 == 0x10 && arg < 0x10",
        "arg & 0xf0 == 0x10 && arg & 0xf == 5 && arg < 0x15",
        "arg & 0xf == 0xf && arg >= 0x10 && arg < 0x1f",
        "arg & 0xf0 in {0x10, 0x20} && arg >= 0x30 && arg < 0x110",
        "arg >= 3 && arg < 5 && arg != 3 && arg != 4",
        "arg & 0xf0 >= 0x100",
    ] {
        assert_eq!(read("semctl", text), Err(Code::BadOperand), "{text}");
        assert!(
            read("semctl", &format!("cmd == 9 || {text}")).is_err(),
            "{text}"
        );
    }
    for text in [
        "cmd == 1 || cmd == 2",
        "cmd in {1, 2} && cmd in {2, 3}",
        "cmd in {1, 2} && cmd != 1",
        "arg < 4 && arg >= 3",
        "cmd has 1 && cmd lacks 2",
        "semid == 1 && semnum == 2",
        "cmd in {1, 2, 3} && cmd != 1 && cmd != 2",
        "arg only 3 && arg >= 3",
        "arg has 8 && arg < 9",
        "arg & 8 == 0 && arg > 15",
        "arg & 0xf0 == 0x10 && arg & 0xf == 5 && arg < 0x16",
        "arg & 0xf == 0xf && arg >= 0x10 && arg < 0x20",
        "arg & 0xf0 in {0x10, 0x20} && arg >= 0x30 && arg < 0x111",
        "arg >= 3 && arg < 6 && arg != 3 && arg != 4",
        "arg & 0xf0 >= 0xf0",
    ] {
        assert!(read("semctl", text).is_ok(), "{text}");
    }
    assert!(read("getpgid", "pid == self.pid && pid == 0").is_ok());
}

#[test]
fn a_number_with_a_zero_ahead_is_refused() {
    assert_eq!(read("fchmod", "mode == 0644"), Err(Code::BadOperand));
    assert!(holds("fchmod", "mode == 0o644", [3, 420, 0, 0, 0, 0]));
    assert!(!holds("fchmod", "mode == 0o644", [3, 644, 0, 0, 0, 0]));
}

#[test]
fn implication_is_seen_where_values_decide_and_never_claimed_otherwise() {
    let implies = |narrow: &str, wide: &str| {
        let wide = read("mmap", wide).unwrap();
        read("mmap", narrow)
            .unwrap()
            .implies(Arch::X86_64, &[&wide])
    };
    assert!(implies(
        "prot only PROT_READ",
        "prot only PROT_READ|PROT_WRITE"
    ));
    assert!(!implies(
        "prot only PROT_READ|PROT_WRITE",
        "prot only PROT_READ"
    ));
    assert!(implies(
        "prot == PROT_READ && flags == 2",
        "prot lacks PROT_EXEC"
    ));
    assert!(!implies("flags == 2", "prot lacks PROT_EXEC"));
    assert!(implies("flags in {1, 2}", "flags in {1, 2, 3}"));
}
