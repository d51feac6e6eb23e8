//! What a type can carry beside bytes, found out by a walk over its parts.
//!
//! An associated constant per type would say it at compile time, but a recursive type makes such
//! a constant depend on itself, which the compiler refuses. So the walk is made when a channel or
//! a function is first used, once a type, with the types seen so far as its memory.

use std::any::TypeId;
use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, PoisonError, RwLock};

use super::Object;

/// A walk over the parts of a type; see [`Object::describe`].
#[derive(Debug, Default)]
pub struct Shape {
    visited: HashSet<TypeId>,
    path: Vec<&'static str>,
    carries: Carries,
}

/// What a value of a type may hold beside bytes. A path tells where, for the error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carries {
    pub(crate) code: Option<String>,
    pub(crate) descriptors: Option<String>,
}

impl Shape {
    /// Says that a value contains a `T`, called `name`.
    pub fn part<T: Object>(&mut self, name: &'static str) {
        if self.begin(TypeId::of::<T>(), name) {
            T::describe(self);
            self.end();
        }
    }

    /// Begins a part unless one of its type was met before; [`end`](Self::end) ends it.
    ///
    /// The derive writes [`part`](Self::part) out, so that the compiler says of a field that is no
    /// `Object` the same in all of its methods, and therefore once.
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

    /// Says that a value contains `T`s that have no name of their own, as a container does.
    pub fn element<T: Object>(&mut self) {
        if self.visited.insert(TypeId::of::<T>()) {
            T::describe(self);
        }
    }

    /// Says that a value carries a descriptor.
    pub fn descriptor(&mut self) {
        let path = self.path.join(".");
        self.carries.descriptors.get_or_insert(path);
    }

    /// Says that a value carries a code reference.
    pub(crate) fn code(&mut self) {
        let path = self.path.join(".");
        self.carries.code.get_or_insert(path);
    }
}

/// What values of `T` can carry; walked once, then remembered.
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
