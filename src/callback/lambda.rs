//! `lambda!`: functions written where they are passed.

/// Creates a callable object in place.
///
/// It looks like a closure with everything spelled out. The captured values follow `move`, each
/// with its type and how it is captured. The arguments and the result have types as well.
///
/// ```
/// use crossmist::{FnObject, func, lambda};
///
/// #[func]
/// fn apply(f: Box<dyn FnObject<(i32,), Output = i32>>) -> i32 {
///     f.call_object((7,)) + f.call_object((8,))
/// }
///
/// #[crossmist::main]
/// fn main() {
///     let x = 5;
///     let by_value = lambda! { move(x: i32) |y: i32| -> i32 { x * y } };
///     assert_eq!(apply.run(Box::new(by_value)).unwrap(), 75);
///
///     // What can't be cloned is captured by reference, and called with all the same.
///     let names = vec!["a".to_string()];
///     let by_reference = lambda! { move(&names: &Vec<String>) |y: i32| -> i32 { names.len() as i32 + y } };
///     assert_eq!(apply.run(Box::new(by_reference)).unwrap(), 17);
///
///     let plain = lambda! { |x: i32| -> i32 { x + 1 } };
///     assert_eq!(apply.run(Box::new(plain)).unwrap(), 17);
/// }
/// ```
///
/// A value that is captured by `&mut x: &mut T` can change from call to call, for
/// [`FnMutObject`](crate::FnMutObject).
#[macro_export]
macro_rules! lambda {
    // Without captures.
    (|$($name:ident: $type:ty),* $(,)?| -> $output:ty $body:block) => {
        $crate::lambda! { move() |$($name: $type),*| -> $output $body }
    };
    (|| -> $output:ty $body:block) => {
        $crate::lambda! { move() || -> $output $body }
    };
    (|$($name:ident: $type:ty),* $(,)?| $body:block) => {
        $crate::lambda! { move() |$($name: $type),*| -> () $body }
    };
    (|| $body:block) => {
        $crate::lambda! { move() || -> () $body }
    };
    // Without a result.
    (move($($captures:tt)*) |$($name:ident: $type:ty),* $(,)?| $body:block) => {
        $crate::lambda! { move($($captures)*) |$($name: $type),*| -> () $body }
    };
    (move($($captures:tt)*) || $body:block) => {
        $crate::lambda! { move($($captures)*) || -> () $body }
    };
    // `||` is one token, and no arguments.
    (move($($captures:tt)*) || -> $output:ty $body:block) => {
        $crate::lambda! { @captures [$($captures)*] [] [] [] $output, $body }
    };
    (move($($captures:tt)*) |$($name:ident: $type:ty),* $(,)?| -> $output:ty $body:block) => {
        $crate::lambda! { @captures [$($captures)*] [] [] [$($name: $type,)*] $output, $body }
    };

    // One capture at a time: its parameter, and how to bind it.
    (@captures [&mut $name:ident: &mut $type:ty $(, $($rest:tt)*)?] [$($parameters:tt)*] [$($binds:tt)*] $arguments:tt $output:ty, $body:block) => {
        $crate::lambda! { @captures [$($($rest)*)?] [$($parameters)* $name: &mut $type,] [$($binds)* (BindMut bind_mut $name)] $arguments $output, $body }
    };
    (@captures [&$name:ident: &$type:ty $(, $($rest:tt)*)?] [$($parameters:tt)*] [$($binds:tt)*] $arguments:tt $output:ty, $body:block) => {
        $crate::lambda! { @captures [$($($rest)*)?] [$($parameters)* $name: &$type,] [$($binds)* (BindRef bind_ref $name)] $arguments $output, $body }
    };
    (@captures [$name:ident: $type:ty $(, $($rest:tt)*)?] [$($parameters:tt)*] [$($binds:tt)*] $arguments:tt $output:ty, $body:block) => {
        $crate::lambda! { @captures [$($($rest)*)?] [$($parameters)* $name: $type,] [$($binds)* (BindValue bind_value $name)] $arguments $output, $body }
    };
    (@captures [] [$($parameters:tt)*] [$($binds:tt)*] [$($arguments:tt)*] $output:ty, $body:block) => {{
        #[$crate::func(callback, crate = $crate)]
        fn lambda($($parameters)* $($arguments)*) -> $output $body
        $crate::lambda! { @bind lambda, $($binds)* }
    }};

    (@bind $bound:expr, ($trait:ident $method:ident $name:ident) $($rest:tt)*) => {
        $crate::lambda! { @bind $crate::$trait::$method($bound, $name), $($rest)* }
    };
    (@bind $bound:expr,) => { $bound };

    ($($other:tt)*) => {
        ::core::compile_error! {
            "a lambda spells out its types: `lambda! { move(captured: Type, &lent: &Type, &mut changed: &mut \
             Type) |argument: Type| -> Result { … } }`; `move(…)` and `-> Result` may be left out"
        }
    };
}
