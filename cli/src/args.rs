//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "Exit codes:
  0  all is well
  1  there are findings: mistakes, failed expectations, something became wider
  2  the command line is wrong
  3  something around is: a file can't be read, cargo or git fail, the kernel lacks something

Examples:
  cargo crossmist new thumbnail --from parser
  cargo crossmist check
  cargo crossmist explain thumbnail
  cargo crossmist diff main:thumbnail thumbnail --fail-on wider";

/// Write, check, explain, compare and test the policies of confined functions.
#[derive(Debug, Parser)]
#[command(name = "cargo-crossmist", bin_name = "cargo crossmist", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// The folder of the policies [default: where the macro looks for the package's]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) policies: Option<PathBuf>,

    /// How findings and tables are written
    #[arg(long, global = true, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,

    /// When to use colours; NO_COLOR is honoured
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Human,
    /// For programs
    Json,
    /// For code hosts, as SARIF 2.1.0
    Sarif,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

impl Color {
    pub(crate) fn write_global(self) {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write the beginning of a new policy
    New(New),
    /// Check policies, and every sandbox that the sources name
    Check(Check),
    /// Show what a policy allows, by which line, and what it doesn't protect from
    Explain(Explain),
    /// Compare two policies by what they mean
    Diff(Diff),
    /// Hold policies against what they expect of themselves
    Test(Test),
    /// Run a program and learn what its functions need
    Learn(Learn),
    /// Write a policy from one of systemd's, OCI's or minijail's
    Import(Import),
    /// Write the JSON Schema that editors complete and check policies by
    Schema(Schema),
    /// Format policy files, keeping comments
    Fmt(Fmt),
    /// Show a policy's filter as the kernel runs it
    Bpf(Bpf),
    /// Show what this machine can enforce, and which policies would run
    Kernel(Kernel),
    /// Explain the code of a finding, such as P010, or a command
    #[command(name = "help", alias = "code")]
    Help(Help),
    /// Write completions for a shell
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder
    Man {
        /// Where to
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
}

#[derive(Args, Debug)]
pub(crate) struct New {
    /// What it is called: letters, digits, `-`, `_`
    pub(crate) name: String,
    /// The policy that it extends
    #[arg(long, default_value = "parser", value_name = "POLICY")]
    pub(crate) from: String,
}

#[derive(Args, Debug)]
pub(crate) struct Check {
    /// Which policies [default: all of the workspace]
    pub(crate) names: Vec<String>,
    /// Advice counts as a mistake
    #[arg(long)]
    pub(crate) strict: bool,
    /// Leave out findings of this code
    #[arg(long, value_name = "CODE")]
    pub(crate) allow: Vec<String>,
    /// Make sure that this program can't be made to watch instead of confine
    #[arg(long, value_name = "FILE")]
    pub(crate) binary: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cargo crossmist explain parser
  cargo crossmist explain thumbnail --syscall 'socket(AF_INET, SOCK_STREAM, 0)'
  cargo crossmist explain thumbnail --path /etc/passwd
  cargo crossmist explain thumbnail --html thumbnail.html")]
pub(crate) struct Explain {
    /// Which policy; or a group, such as @threads
    pub(crate) name: String,
    /// Only what becomes of this call: `mmap`, or `socket(AF_INET, SOCK_STREAM, 0)`
    #[arg(long, value_name = "CALL")]
    pub(crate) syscall: Option<String>,
    /// Only what becomes of this path
    #[arg(long, value_name = "PATH", conflicts_with = "syscall")]
    pub(crate) path: Option<String>,
    /// Say why, where lines give a reason
    #[arg(long)]
    pub(crate) why: bool,
    /// What a kernel of this release would enforce, such as 6.1 [default: this one]
    #[arg(long, value_name = "RELEASE")]
    pub(crate) kernel: Option<String>,
    /// Write a page for a browser instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["syscall", "path"])]
    pub(crate) html: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "A policy is a NAME, a REVISION:NAME of git's, or a path that ends with `.toml`.

Examples:
  cargo crossmist diff parser thumbnail
  cargo crossmist diff HEAD~1:thumbnail thumbnail
  cargo crossmist diff origin/main:thumbnail thumbnail --fail-on wider"
)]
pub(crate) struct Diff {
    /// The policy as it was
    pub(crate) old: String,
    /// The policy as it is
    pub(crate) new: String,
    /// Exit with 1 where something has become so
    #[arg(long, value_enum, value_name = "DIRECTION")]
    pub(crate) fail_on: Option<FailOn>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// Something is allowed that wasn't
    #[value(alias = "widen")]
    Wider,
    /// There is any difference
    Any,
}

#[derive(Args, Debug)]
pub(crate) struct Test {
    /// Which policies [default: all]
    pub(crate) names: Vec<String>,
    /// Try each expectation in a real child, too
    #[arg(long)]
    pub(crate) live: bool,
    /// Name the grants that no expectation needs
    #[arg(long)]
    pub(crate) redundant: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "The program's functions are watched and NOT confined while it runs: run it on input that you trust.
`cargo run`, `cargo test` and `cargo nextest` are given the feature `crossmist/learn`, in a folder of
their own; any other program has to be built with it.

Examples:
  cargo crossmist learn thumbnail -- cargo run -- picture.png
  cargo crossmist learn thumbnail --base parser --write -- cargo test
  cargo crossmist learn thumbnail --write --verify -- cargo test"
)]
pub(crate) struct Learn {
    /// The policy that is to be learned: that of the functions to be watched
    pub(crate) name: String,
    /// The policy that the learned one extends [default: what it extends now, else parser]
    #[arg(long, value_name = "POLICY")]
    pub(crate) base: Option<String>,
    /// Only this function of the program
    #[arg(long, value_name = "NAME")]
    pub(crate) func: Option<String>,
    /// Records of earlier runs to learn from, too
    #[arg(long, value_name = "FILE")]
    pub(crate) merge: Vec<PathBuf>,
    /// Keep the records of this run in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Write the policy's file instead of standard output
    #[arg(long)]
    pub(crate) write: bool,
    /// With --write: replace a file that allows something already
    #[arg(long, requires = "write")]
    pub(crate) force: bool,
    /// With --write: run the program again, confined by what was learned
    #[arg(long, requires = "write")]
    pub(crate) verify: bool,
    /// End the program after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// The program and its arguments; none learns from --merge alone
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "The policy goes to standard output. What could not be translated stands at its end, as comments.

Example:
  cargo crossmist import oci seccomp.json > policies/imported.toml"
)]
pub(crate) struct Import {
    /// What the file is
    #[arg(value_enum)]
    pub(crate) kind: crate::import::Format,
    /// The file
    pub(crate) file: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Schema {
    /// Write it to .crossmist/ beside the policies, and tell taplo and VS Code of it
    #[arg(long)]
    pub(crate) install: bool,
    /// Write the reference of all keys and groups instead, in Markdown
    #[arg(long, conflicts_with = "install")]
    pub(crate) reference: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Fmt {
    /// Which policies [default: all]
    pub(crate) names: Vec<String>,
    /// Change nothing; exit with 1 where something would change
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Bpf {
    /// Which policy
    pub(crate) name: String,
    /// For which architecture [default: this one]
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Kernel {
    /// As if the machine ran this release, such as 5.15
    #[arg(long, value_name = "RELEASE")]
    pub(crate) kernel: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Help {
    /// A code or a command; `codes` lists all codes
    pub(crate) about: Option<String>,
}
