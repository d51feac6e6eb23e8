//! The compiler against seccompiler's, over random conditions and random arguments.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use crossmist_policy::bpf::Action;
use crossmist_policy::bpf::interpret::{Call, run};
use crossmist_policy::{Arch, BuiltinOnly, Policy};
use proptest::prelude::*;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

/// A test in both languages. `semctl` has three arguments of 32 bits and one of 64.
#[derive(Clone, Debug)]
struct Test {
    arg: u8,
    op: usize,
    mask: u64,
    value: u64,
}

const ARGS: [&str; 4] = ["semid", "semnum", "cmd", "arg"];
const OPS: [&str; 7] = ["==", "!=", "<", "<=", ">", ">=", "&"];

impl Test {
    /// The 32-bit ones are signed: they are compared by order in no language.
    fn is_possible(&self) -> bool {
        let ordered = (2..6).contains(&self.op);
        let constant = match self.op {
            2 | 5 => self.value == 0,
            3 | 4 => self.value == u64::MAX,
            6 => self.mask == 0,
            _ => false,
        };
        !constant && (self.arg == 3 || !ordered)
    }

    fn text(&self) -> String {
        let name = ARGS[usize::from(self.arg)];
        match self.op {
            6 => format!("{name} & {:#x} == {:#x}", self.mask, self.value & self.mask),
            op => format!("{name} {} {:#x}", OPS[op], self.value),
        }
    }

    fn theirs(&self) -> SeccompCondition {
        let length = if self.arg == 3 {
            Len::Qword
        } else {
            Len::Dword
        };
        let op = match self.op {
            0 => Op::Eq,
            1 => Op::Ne,
            2 => Op::Lt,
            3 => Op::Le,
            4 => Op::Gt,
            5 => Op::Ge,
            _ => Op::MaskedEq(self.mask),
        };
        let value = if self.op == 6 {
            self.value & self.mask
        } else {
            self.value
        };
        SeccompCondition::new(self.arg, length, op, value).unwrap()
    }
}

fn interesting() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(7),
        Just(0xffff_ffff),
        Just(0x1_0000_0000),
        Just(0x7_0000_0007),
        Just(u64::MAX),
        any::<u64>(),
        (0u64..64).prop_map(|bit| 1 << bit),
    ]
}

fn test() -> impl Strategy<Value = Test> {
    (0u8..4, 0usize..7, interesting(), interesting()).prop_map(|(arg, op, mask, value)| {
        let width = if arg == 3 { u64::MAX } else { 0xffff_ffff };
        Test {
            arg,
            op,
            mask: mask & width,
            value: value & width,
        }
    })
}

fn alternatives() -> impl Strategy<Value = Vec<Vec<Test>>> {
    let tests = prop::collection::vec(test().prop_filter("possible", Test::is_possible), 1..4);
    prop::collection::vec(tests, 1..5)
}

fn theirs(alternatives: &[Vec<Test>], number: u32, arch: TargetArch) -> BpfProgram {
    let rules = alternatives
        .iter()
        .map(|tests| SeccompRule::new(tests.iter().map(Test::theirs).collect()).unwrap());
    let rules = BTreeMap::from([(i64::from(number), rules.collect())]);
    let filter = SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, arch);
    filter.unwrap().try_into().unwrap()
}

/// Values on both sides of every boundary that the tests draw, then any.
fn near(alternatives: &[Vec<Test>], arg: u8, choice: usize, other: u64) -> u64 {
    let values: Vec<u64> = alternatives
        .iter()
        .flatten()
        .filter(|test| test.arg == arg)
        .flat_map(|test| {
            let value = if test.op == 6 {
                test.value & test.mask
            } else {
                test.value
            };
            [
                value,
                value.wrapping_add(1),
                value.wrapping_sub(1),
                value | !test.mask,
                value ^ 1 << 32,
            ]
        })
        .collect();
    if values.is_empty() || choice == 0 {
        other
    } else {
        values[choice % values.len()]
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn both_compilers_agree_on_every_call(
        alternatives in alternatives(),
        choices in prop::collection::vec((prop::array::uniform4(0usize..32), prop::array::uniform4(interesting())), 24),
    ) {
        let written = |tests: &[Test]| tests.iter().map(Test::text).collect::<Vec<_>>().join(" && ");
        let policy = |condition: &str| {
            let text = format!("format = 1\n[syscalls]\nallow = ['semctl({condition})']\n");
            Policy::from_toml(&BuiltinOnly, "random", &text)
        };
        // Tests that exclude each other are refused; the other compiler makes a filter that nothing meets.
        let (alternatives, refused): (Vec<_>, Vec<_>) =
            alternatives.into_iter().partition(|tests| policy(&written(tests)).is_ok());
        for tests in &refused {
            let report = policy(&written(tests)).unwrap_err().to_string();
            prop_assert!(report.contains("this is never true"), "{}", report);
            let number = crossmist_policy::syscalls::find("semctl").unwrap().number(Arch::X86_64).unwrap();
            let theirs = theirs(std::slice::from_ref(tests), number, TargetArch::x86_64);
            for (choice, other) in &choices {
                let mut args = [0; 6];
                for arg in 0..4u8 {
                    let at = usize::from(arg);
                    args[at] = near(std::slice::from_ref(tests), arg, choice[at], other[at]);
                }
                let answer = run(&theirs, &Call::new(Arch::X86_64, number, args)).unwrap();
                prop_assert!(Action::from_return(answer) != Some(Action::Allow), "{} {:x?}", written(tests), args);
            }
        }
        if alternatives.is_empty() {
            return Ok(());
        }
        let condition = alternatives.iter().map(|tests| written(tests)).collect::<Vec<_>>().join(" || ");
        let compiled = policy(&condition).unwrap_or_else(|report| panic!("{report}")).compile().unwrap();
        for (arch, target) in [(Arch::X86_64, TargetArch::x86_64), (Arch::Aarch64, TargetArch::aarch64)] {
            let number = crossmist_policy::syscalls::find("semctl").unwrap().number(arch).unwrap();
            let ours = &compiled.program(arch).unwrap().code;
            let theirs = theirs(&alternatives, number, target);
            for (choice, other) in &choices {
                let mut args = [0; 6];
                for arg in 0..4u8 {
                    let at = usize::from(arg);
                    args[at] = near(&alternatives, arg, choice[at], other[at]);
                }
                let call = Call::new(arch, number, args);
                let (ours, theirs) = (run(ours, &call).unwrap(), run(&theirs, &call).unwrap());
                prop_assert_eq!(
                    Action::from_return(ours) == Some(Action::Allow),
                    Action::from_return(theirs) == Some(Action::Allow),
                    "{} {:x?}", condition, args
                );
            }
        }
    }
}
