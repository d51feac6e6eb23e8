//! Functions and types that another macro writes.

macro_rules! operation {
    ($name:ident, |$x:ident: $type:ty, $y:ident| -> $output:ty, $body:block) => {
        #[crossmist::func]
        fn $name($x: $type, $y: $type) -> $output $body
    };
}

operation! { add, |x: i32, y| -> i32, { x + y } }

macro_rules! shape {
    ($name:ident { $($field:ident: $type:ty),* }) => {
        #[derive(crossmist::Object, Debug, PartialEq)]
        struct $name { $($field: $type),* }
    };
}

shape! { Point { x: f64, y: Option<f64> } }

#[crossmist::func]
fn mirrored(point: Point) -> Point {
    Point { x: -point.x, ..point }
}

#[crossmist::main]
fn main() {
    assert_eq!(add.run(5, 7).unwrap(), 12);
    assert_eq!(mirrored.run(Point { x: 1.0, y: None }).unwrap(), Point { x: -1.0, y: None });
}
