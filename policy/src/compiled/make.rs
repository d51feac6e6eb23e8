//! From a policy to its compiled form.

use super::{
    Ceiling, ChannelLimits, Compiled, Environment, Limits, PathRule, PortRule, PortSet, Process,
    Stdio, WantedGroup, explain,
};
use crate::bpf::MAX_INSTRUCTIONS;
use crate::diagnostic::{Code, Report};
use crate::file::Ports;
use crate::landlock::{SCOPE_ABSTRACT_UNIX, SCOPE_SIGNAL};
use crate::policy::Policy;
use crate::source::Problem;

impl Policy {
    /// Makes what the run time enforces, for every supported architecture: a macro can't know which
    /// one the program is for.
    ///
    /// # Errors
    ///
    /// If the filter becomes longer than the kernel takes.
    pub fn compile(&self) -> Result<Compiled, Report> {
        let programs = self.programs();
        let data_programs = self.without_descriptors().programs();
        if let Some(long) = programs
            .iter()
            .chain(&data_programs)
            .find(|program| program.code.len() > MAX_INSTRUCTIONS)
        {
            let message = format!(
                "the filter would have {} instructions, and the kernel takes {MAX_INSTRUCTIONS}",
                long.code.len()
            );
            let problem = Problem::new(Code::FilterTooLong, self.root, message);
            return Err(self.sources.report(vec![problem]));
        }
        Ok(Compiled {
            name: self.name.clone(),
            description: self.description.clone().unwrap_or_default(),
            programs,
            data_programs,
            on_violation: self.on_violation.value,
            filesystem: self
                .filesystem_unconfined
                .is_none()
                .then(|| self.path_rules()),
            network: self.network_unconfined.is_none().then(|| self.port_rules()),
            scopes: self.scopes(),
            needs: self.all_needs(),
            required: self.requirements(),
            relaxed: self
                .relax
                .iter()
                .map(|r| (r.value.what.to_owned(), r.value.reason.clone()))
                .collect(),
            variables: self.variables.iter().map(Into::into).collect(),
            ceilings: self.ceilings.clone(),
            limits: self.limits(),
            channel: self.channel_limits(),
            capabilities: self.capabilities.clone(),
            environment: Environment {
                inherit: self.inherit.clone(),
                set: (self.set.iter())
                    .map(|(name, value)| (name.value.clone(), value.clone()))
                    .collect(),
                backtrace: !self.values.is_strict("environment", "backtrace"),
            },
            process: self.process(),
            namespaces: self.namespaces(),
            provenance: explain::provenance(self),
            sources: self.sources.labels().map(str::to_owned).collect(),
        })
    }

    /// The paths as whoever stays within this policy is held to; `None` if it leaves them alone.
    pub(crate) fn as_ceiling(&self) -> Option<Ceiling> {
        self.filesystem_unconfined.is_none().then(|| Ceiling {
            name: self.name.clone(),
            variables: self.variables.iter().map(Into::into).collect(),
            filesystem: self.path_rules(),
        })
    }

    fn path_rules(&self) -> Vec<PathRule> {
        let rule = |grant: &crate::file::PathGrant| PathRule {
            path: grant.path.value.clone(),
            rights: grant.rights,
            optional: grant.optional,
            line: self.sources.locate(grant.path.place).to_string(),
        };
        self.paths.iter().map(rule).collect()
    }

    fn port_rules(&self) -> Vec<PortRule> {
        let rule = |grant: &crate::file::PortGrant| PortRule {
            ports: match &grant.ports.value {
                Ports::Range(from, to) => PortSet::Range(*from, *to),
                Ports::Variable(name) => PortSet::Variable(name.clone()),
            },
            rights: grant.used_for.right(),
            line: self.sources.locate(grant.ports.place).to_string(),
        };
        self.ports.iter().map(rule).collect()
    }

    pub(crate) fn scopes(&self) -> u64 {
        let strict = |key, bit| {
            if self.values.is_strict("scope", key) {
                bit
            } else {
                0
            }
        };
        strict("signal", SCOPE_SIGNAL) | strict("abstract_unix", SCOPE_ABSTRACT_UNIX)
    }

    fn limits(&self) -> Limits {
        let number = |key| self.values.number("limits", key);
        let count = |key| self.values.count("limits", key);
        Limits {
            memory: number("memory"),
            reserved: number("reserved"),
            address_space: number("address_space"),
            stack: number("stack"),
            cpu_time: self.values.time("limits", "cpu_time"),
            wall_time: self.values.time("limits", "wall_time"),
            processes: count("processes"),
            threads: count("threads"),
            open_files: count("open_files"),
            file_size: number("file_size"),
            core: number("core"),
            locked_memory: number("locked_memory"),
            // The words of the settings' table.
            control_group: match count("control_group") {
                0 => WantedGroup::Required,
                1 => WantedGroup::IfPossible,
                _ => WantedGroup::Never,
            },
        }
    }

    fn channel_limits(&self) -> ChannelLimits {
        let count = |key| self.values.count("limits.channel", key);
        ChannelLimits {
            message_bytes: self.values.number("limits.channel", "message_bytes"),
            message_fds: count("message_fds"),
            messages: count("messages"),
            nesting: count("nesting"),
            total_bytes: self.values.number("limits.channel", "total_bytes"),
        }
    }

    fn process(&self) -> Process {
        let strict = |key| self.values.is_strict("process", key);
        // The words of `stdout` and `stderr` in the settings' table; `stdin` has no pipe.
        let output = |key| match self.values.count("process", key) {
            0 => Stdio::Null,
            1 => Stdio::Pipe,
            _ => Stdio::Inherit,
        };
        Process {
            stdin: if strict("stdin") {
                Stdio::Null
            } else {
                Stdio::Inherit
            },
            stdout: output("stdout"),
            stderr: output("stderr"),
            dumpable: !strict("dumpable"),
            dies_with_parent: strict("parent_death"),
            deny_write_execute: strict("deny_write_execute"),
            allow_speculation: !strict("spec_allow"),
            own_user: strict("user"),
            fresh_image: strict("launch"),
            trace_denials: !strict("trace_denials"),
        }
    }
}
