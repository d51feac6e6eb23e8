//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "Exit codes:
  0  all is well
  1  there are findings: mistakes, failed expectations, something became wider
  2  the command line is wrong
  3  something else is wrong: a file can't be read, cargo or git fail, the kernel lacks something

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

    /// The folder of the policies [default: the one that the macro uses for the package]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) policies: Option<PathBuf>,

    /// How to write findings and tables
    #[arg(long, global = true, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,

    /// When to use colours; NO_COLOR turns them off
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
    /// Create a new policy
    New(New),
    /// Check policies, and every `sandbox = "…"` in the sources
    Check(Check),
    /// Show what a policy allows, which lines allow it, and what it does not protect from
    Explain(Explain),
    /// Compare what two policies allow
    Diff(Diff),
    /// Test policies against their expectations
    Test(Test),
    /// Run a program, and write a policy from what its functions need
    Learn(Learn),
    /// Convert the policy of another program, such as systemd, Docker or minijail
    Import(Import),
    /// Write a policy's filter in the format of another program
    Export(Export),
    /// Write the JSON Schema that editors use to complete and check policies
    Schema(Schema),
    /// Format policy files, and keep their comments
    Fmt(Fmt),
    /// Show a policy's filter, disassembled
    Bpf(Bpf),
    /// Show what this machine can enforce, and which policies run on it
    Kernel(Kernel),
    /// Explain the code of a finding, such as P010, or a command
    #[command(name = "help", alias = "code")]
    Help(Help),
    /// Write completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder
    Man {
        /// The folder
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
}

#[derive(Args, Debug)]
pub(crate) struct New {
    /// The policy's name: letters, digits, `-`, `_`
    pub(crate) name: String,
    /// The policy that it extends
    #[arg(long, default_value = "parser", value_name = "POLICY")]
    pub(crate) from: String,
}

#[derive(Args, Debug)]
pub(crate) struct Check {
    /// The policies [default: all of the workspace]
    pub(crate) names: Vec<String>,
    /// Count advice as mistakes
    #[arg(long)]
    pub(crate) strict: bool,
    /// Ignore findings with this code
    #[arg(long, value_name = "CODE")]
    pub(crate) allow: Vec<String>,
    /// Check that this program cannot be made to watch functions instead of confining them
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
    /// The policy, or a group, such as @threads
    pub(crate) name: String,
    /// Show only the result of this call: `mmap`, or `socket(AF_INET, SOCK_STREAM, 0)`
    #[arg(long, value_name = "CALL")]
    pub(crate) syscall: Option<String>,
    /// Show only the result of opening this path
    #[arg(long, value_name = "PATH", conflicts_with = "syscall")]
    pub(crate) path: Option<String>,
    /// Also show every system call and every setting, not only those that the policy's own files name
    #[arg(long, conflicts_with_all = ["syscall", "path", "html"])]
    pub(crate) all: bool,
    /// Show the reasons that lines give
    #[arg(long)]
    pub(crate) why: bool,
    /// Show what a kernel of this release enforces, such as 6.1 [default: this one]
    #[arg(long, value_name = "RELEASE")]
    pub(crate) kernel: Option<String>,
    /// Write a page for a browser instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["syscall", "path"])]
    pub(crate) html: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "A policy is a NAME, a REVISION:NAME of git, or a path that ends with `.toml`.

Examples:
  cargo crossmist diff parser thumbnail
  cargo crossmist diff HEAD~1:thumbnail thumbnail
  cargo crossmist diff origin/main:thumbnail thumbnail --fail-on wider"
)]
pub(crate) struct Diff {
    /// The old policy
    pub(crate) old: String,
    /// The new policy
    pub(crate) new: String,
    /// Exit with 1 if there is such a change
    #[arg(long, value_enum, value_name = "DIRECTION")]
    pub(crate) fail_on: Option<FailOn>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// Something is allowed that was not
    #[value(alias = "widen")]
    Wider,
    /// There is any difference
    Any,
}

#[derive(Args, Debug)]
pub(crate) struct Test {
    /// The policies [default: all]
    pub(crate) names: Vec<String>,
    /// Also try each expectation in a real child
    #[arg(long)]
    pub(crate) live: bool,
    /// Name the grants that no expectation needs
    #[arg(long)]
    pub(crate) redundant: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "While the program runs, its functions are watched and NOT confined: run it on input that you trust.
`cargo run`, `cargo test` and `cargo nextest` get the flag `--cfg crossmist_learn`, in a target folder
of their own. Any other program must be built with RUSTFLAGS=\"--cfg crossmist_learn\".

Examples:
  cargo crossmist learn thumbnail -- cargo run -- picture.png
  cargo crossmist learn thumbnail --base parser --write -- cargo test
  cargo crossmist learn thumbnail --write --verify -- cargo test"
)]
pub(crate) struct Learn {
    /// The policy to learn; functions that have it are watched
    pub(crate) name: String,
    /// The policy that the learned one extends [default: the one that it extends now, or else parser]
    #[arg(long, value_name = "POLICY")]
    pub(crate) base: Option<String>,
    /// Learn only from this function of the program
    #[arg(long, value_name = "NAME")]
    pub(crate) func: Option<String>,
    /// Also learn from the records of earlier runs; what a kernel that they were made on can't enforce is left out
    #[arg(long, value_name = "FILE")]
    pub(crate) merge: Vec<PathBuf>,
    /// Save the records of this run to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Write the policy's file instead of standard output
    #[arg(long, group = "changed")]
    pub(crate) write: bool,
    /// Add what the policy's file lacks, and leave the rest unchanged
    #[arg(long, group = "changed", conflicts_with_all = ["base", "force"])]
    pub(crate) add: bool,
    /// With --write: replace a file that already allows something
    #[arg(long, requires = "write")]
    pub(crate) force: bool,
    /// With --write or --add: run the program again, confined by the result
    #[arg(long, requires = "changed")]
    pub(crate) verify: bool,
    /// End the program after this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// The program and its arguments; may be left out if --merge names records
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "The policy goes to standard output. What could not be translated is at its end, as comments.

The policy allows what the file allows, or less.

Examples:
  cargo crossmist import oci seccomp.json > policies/imported.toml
  cargo crossmist import systemd reader.service > policies/reader.toml
  cargo crossmist import seccompiler filters.json --filter vcpu > policies/vcpu.toml"
)]
pub(crate) struct Import {
    /// The format of the file
    #[arg(value_enum)]
    pub(crate) kind: Foreign,
    /// The file
    pub(crate) file: PathBuf,
    /// The filter or profile to convert, if the file has several
    #[arg(long, value_name = "NAME")]
    pub(crate) filter: Option<String>,
}

/// Formats of other programs' policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Foreign {
    /// The options of a systemd unit
    Systemd,
    /// A seccomp profile in JSON, as Docker, Podman and Kubernetes take it, or a container's config.json
    Oci,
    /// A SeccompProfile of the Kubernetes security-profiles-operator, in YAML
    SecurityProfiles,
    /// Filters in the JSON of seccompiler and Firecracker
    Seccompiler,
    /// A minijail policy
    Minijail,
}

#[derive(Args, Debug)]
#[command(
    after_help = "The filter goes to standard output. It allows what the policy's own filter allows, or less; what it lacks
is named on standard error.

Example:
  cargo crossmist export seccompiler thumbnail > thumbnail.json"
)]
pub(crate) struct Export {
    /// The format to write
    #[arg(value_enum)]
    pub(crate) kind: Exchange,
    /// The policy
    pub(crate) name: String,
    /// The architecture [default: this one]
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<String>,
}

/// Formats that a filter can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Exchange {
    /// The JSON of seccompiler and Firecracker
    Seccompiler,
}

#[derive(Args, Debug)]
pub(crate) struct Schema {
    /// Write it to .crossmist/ beside the policies, and set up taplo and VS Code to use it
    #[arg(long)]
    pub(crate) install: bool,
    /// Write the reference of all keys and groups instead, in Markdown
    #[arg(long, conflicts_with = "install")]
    pub(crate) reference: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Fmt {
    /// The policies [default: all]
    pub(crate) names: Vec<String>,
    /// Change nothing; exit with 1 if something would change
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Bpf {
    /// The policy
    pub(crate) name: String,
    /// The architecture [default: this one]
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Kernel {
    /// Show what a kernel of this release can enforce, such as 5.15
    #[arg(long, value_name = "RELEASE")]
    pub(crate) kernel: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Help {
    /// A code, a command, a group or a system call; `codes` and `groups` list these
    pub(crate) about: Option<String>,
}
