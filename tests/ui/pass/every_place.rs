//! Places where a function may stand, and names that it may have.

mod outer {
    pub mod inner {
        #[crossmist::func]
        pub(in crate::outer) fn up(x: u8) -> u8 {
            x + 1
        }

        #[crossmist::func]
        pub(super) fn down<T: crossmist::Object>(x: T) -> T {
            x
        }

        #[crossmist::func]
        pub fn r#move(r#type: u8) -> u8 {
            r#type
        }
    }

    #[derive(crossmist::Object, Debug, PartialEq)]
    pub(crate) struct Hidden(pub(crate) u8);

    /// More visible than what it takes and returns.
    #[crossmist::func]
    pub fn same(hidden: Hidden) -> Hidden {
        hidden
    }

    #[crossmist::func]
    pub fn both<T: crossmist::Object>(hidden: Hidden, x: T) -> (T, Hidden) {
        (x, hidden)
    }

    pub fn run() {
        assert_eq!(inner::up.run(1).unwrap(), 2);
        assert_eq!(inner::down.run(1).unwrap(), 1);
    }
}

mod add {}

#[crossmist::func]
fn add(x: i32, _: i32) -> i32 {
    x
}

#[crossmist::func]
fn up(x: u16) -> u16 {
    x + 1
}

#[crossmist::func]
#[cfg(any())]
fn absent(x: NoSuchType) {}

#[crossmist::func]
fn fibonacci(n: u32) -> u32 {
    // In the body, the name also means the object.
    if n < 2 { n } else { fibonacci.run(n - 1).unwrap() + fibonacci(n - 2) }
}

#[crossmist::main]
fn main() -> Result<(), crossmist::Error> {
    outer::run();
    let hidden = outer::Hidden;
    assert_eq!(outer::same.run(hidden(7))?, hidden(7));
    assert_eq!(outer::both.run(hidden(7), 8)?, (8, hidden(7)));
    assert_eq!(outer::both::<u8>(hidden(7), 8), (8, hidden(7)));
    assert_eq!(outer::inner::r#move.run(7)?, 7);
    assert_eq!(format!("{:?}", outer::inner::r#move), format!("{}::outer::inner::move", module_path!()));
    assert_eq!(up.run(300)?, 301);
    assert_eq!(add.run(5, 7)?, 5);

    #[crossmist::func]
    fn here(x: u32) -> u32 {
        x + 2
    }
    assert_eq!(here.run(70_000)?, 70_002);
    {
        #[crossmist::func]
        fn up<T: crossmist::Object>(x: T) -> T {
            x
        }
        assert_eq!(up.run("x".to_owned())?, "x");
    }
    let function = fibonacci;
    assert_eq!(function.run(5)?, 5);
    let pointer: fn(u32) -> u32 = *fibonacci;
    assert_eq!(pointer(1), 1);
    Ok(())
}
