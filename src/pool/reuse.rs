//! `Reuse`: how many calls a child of a pool answers.

/// How many calls a child of a pool answers before it is replaced.
///
/// Reuse saves the start of children: if calls come faster than spares can be started, there is no other way to keep
/// up.
///
/// # Security
///
/// With [`Never`](Self::Never), each input meets a process that has seen no other. The other choices give up that
/// promise, and no policy restores it. A hostile input that takes over the function can do this to all later calls
/// of the same child:
///
/// * read their inputs, and put them into later answers, where another caller sees them,
/// * return wrong answers,
/// * keep the descriptors and channels that they were passed, and use them: then a receive from such a channel ends with
///   the child, not with the call,
/// * run on between calls, and use up memory and descriptors, so that they fail,
/// * end as if they had not read their arguments, so that another child gets the call as well.
///
/// Later calls also see what an honest call leaves behind: statics, caches, leaked memory, threads. So reuse children
/// only for inputs of one origin, which may know of each other.
///
/// These promises hold for each call of a child:
///
/// * The deadline and the policy's `cpu_time` are those of one call. The program measures the processor time from
///   outside, and the kernel bounds it for all calls of the child together.
/// * Each call has a number that nobody can guess, and its answer has the same number. If the child sends something
///   before the call, or answers another call, the result is an error.
/// * A child whose call fails in any way (a panic, a violation, a limit, a malformed answer) is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reuse {
    /// Each child answers one call.
    #[default]
    Never,
    /// Each child answers at most this many calls. 0 and 1 mean the same as [`Never`](Self::Never).
    Times(u32),
    /// Each child answers calls until it fails, is idle for too long, or has used a thousand times the policy's
    /// `cpu_time`.
    Always,
}

/// How much processor time a child gets that answers any number of calls, in times of one call.
const MOST_CALLS: u32 = 1000;

impl Reuse {
    /// Returns how many calls a child answers at most.
    pub(super) fn answers(self) -> u32 {
        match self {
            Self::Never => 1,
            Self::Times(times) => times.max(1),
            Self::Always => u32::MAX,
        }
    }

    /// Returns for how many calls a child gets processor time, or 0 if it answers one.
    pub(super) fn budget(self) -> u32 {
        match self.answers() {
            1 => 0,
            // One more, for its start.
            answers => answers.min(MOST_CALLS).saturating_add(1),
        }
    }
}
