//! The things that a type can carry besides bytes, found by a walk over its parts.
//!
//! An associated constant per type would tell at compile time, but in a recursive type it would
//! depend on itself, which the compiler refuses. So the walk happens when a channel or a function
//! is first used, once per type, and remembers the types that it has seen.

use std::any::TypeId;
use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, PoisonError, RwLock};

use super::Object;

/// A walk over the parts of a type. See [`Object::describe`].
#[derive(Debug, Default)]
pub struct Shape {
    visited: HashSet<TypeId>,
    path: Vec<&'static str>,
    carries: Carries,
}

/// The things that a value of a type may hold besides bytes. The paths tell the places, for the error. The
/// paths say where, for the error.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carries {
    pub(crate) code: Option<String>,
    pub(crate) descriptors: Option<String>,
    /// A descriptor in it may be the end of a channel.
    any_descriptor: bool,
    /// The channel ends in it. Their messages are not part of the value.
    ends: Vec<End>,
}

/// A channel end in a value: what its holder can send, and what it can receive.
#[derive(Clone, Copy, Debug)]
struct End {
    sends: Walk,
    receives: Walk,
}

/// A walk over a type that is still to be done.
#[derive(Clone, Copy, Debug)]
struct Walk {
    id: TypeId,
    carries: fn() -> Carries,
}

impl Walk {
    fn of<T: Object>() -> Self {
        Self {
            id: TypeId::of::<T>(),
            carries: carries::<T>,
        }
    }
}

impl Shape {
    /// Declares that a value contains a `T`, called `name`.
    pub fn part<T: Object>(&mut self, name: &'static str) {
        if self.begin(TypeId::of::<T>(), name) {
            T::describe(self);
            self.end();
        }
    }

    /// Begins a part, unless a part of its type was met before. [`end`](Self::end) ends it.
    ///
    /// The derive inlines [`part`](Self::part), so that the compiler reports a field that is not an
    /// `Object` in the same words in all its methods, and therefore once.
    #[doc(hidden)]
    pub fn begin(&mut self, id: TypeId, name: &'static str) -> bool {
        let is_new = self.visited.insert(id);
        if is_new {
            self.path.push(name);
        }
        is_new
    }

    #[doc(hidden)]
    pub fn end(&mut self) {
        self.path.pop();
    }

    /// Declares that a value contains `T`s that have no name of their own, as a container does.
    pub fn element<T: Object>(&mut self) {
        if self.visited.insert(TypeId::of::<T>()) {
            T::describe(self);
        }
    }

    /// Declares that a value carries a descriptor.
    pub fn descriptor(&mut self) {
        self.carries.any_descriptor = true;
        self.descriptor_of_a_kind();
    }

    /// Records that a value carries a descriptor of a kind that no end of a channel is of.
    pub(crate) fn descriptor_of_a_kind(&mut self) {
        let path = self.path.join(".");
        self.carries.descriptors.get_or_insert(path);
    }

    /// Declares that a value carries the end of a channel, whose holder sends `S` and receives `R`.
    pub(crate) fn end_of_channel<S: Object, R: Object>(&mut self) {
        self.descriptor();
        self.carries.ends.push(End {
            sends: Walk::of::<S>(),
            receives: Walk::of::<R>(),
        });
    }

    /// Declares that a value carries a code reference.
    pub(crate) fn code(&mut self) {
        let path = self.path.join(".");
        self.carries.code.get_or_insert(path);
    }
}

/// The things that a process can send besides bytes, by the types of its function. Each includes those before
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sends {
    Bytes,
    /// Descriptors of kinds that no end of a channel is of.
    Descriptors,
    /// Ends of channels, or descriptors that may be some.
    Ends,
}

impl Carries {
    /// Returns whether a descriptor can be in it. Code hides the types of what it has bound.
    fn may_hold_descriptors(&self) -> bool {
        self.descriptors.is_some() || self.code.is_some()
    }

    fn sends(&self) -> Sends {
        match (self.any_descriptor, &self.descriptors) {
            (true, _) => Sends::Ends,
            (false, Some(_)) => Sends::Descriptors,
            (false, None) => Sends::Bytes,
        }
    }
}

/// Returns what the types of a function let it send: in its answer, over a channel that comes with its
/// arguments, or with what arrives over one.
///
/// Code among the arguments hides the types of what it has bound, so it counts as if it named everything.
pub(crate) fn sends<Args: Object, Output: Object>() -> Sends {
    static KNOWN: LazyLock<RwLock<HashMap<[TypeId; 2], Sends>>> = LazyLock::new(RwLock::default);

    let id = [TypeId::of::<Args>(), TypeId::of::<Output>()];
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known.get(&id) {
        return *known;
    }
    drop(known);
    let sends = carries::<Output>().sends().max(is_given_a_way::<Args>());
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    *known.entry(id).or_insert(sends)
}

/// Returns what the receiver of a `T` can send over what is in it.
fn is_given_a_way<T: Object>() -> Sends {
    let mut most = Sends::Bytes;
    let mut visited = HashSet::new();
    let mut next = vec![Walk::of::<T>()];
    while let Some(walk) = next.pop() {
        if !visited.insert(walk.id) {
            continue;
        }
        let received = (walk.carries)();
        if received.code.is_some() {
            return Sends::Ends;
        }
        for end in received.ends {
            most = most.max((end.sends.carries)().sends());
            next.push(end.receives);
        }
    }
    most
}

/// Returns whether a descriptor can arrive with a `T`.
pub(crate) fn brings_descriptors<T: Object>() -> bool {
    carries::<T>().may_hold_descriptors()
}

/// Returns what values of `T` can carry. The type is walked once, and the result is remembered.
pub(crate) fn carries<T: Object>() -> Carries {
    static KNOWN: LazyLock<RwLock<HashMap<TypeId, Carries>>> = LazyLock::new(RwLock::default);

    let id = TypeId::of::<T>();
    if let Some(known) = KNOWN
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&id)
    {
        return known.clone();
    }
    let mut shape = Shape::default();
    shape.element::<T>();
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    known.entry(id).or_insert(shape.carries).clone()
}
/// Returns the words of a message that name a part of a type, or nothing if it is the type itself.
pub(crate) fn in_part(part: &str) -> String {
    match part {
        "" => String::new(),
        part => format!(" (in `{part}`)"),
    }
}
