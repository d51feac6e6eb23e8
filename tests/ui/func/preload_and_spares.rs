use crossmist::func;

fn load() {}

fn needs(_number: u32) {}

#[func(preload = load, spares = 2)]
fn without_a_sandbox() {}

#[func(sandbox = "parser", preload = "load", spares = "two")]
fn of_another_kind() {}

#[func(sandbox = dynamic, spares = 2)]
fn dynamic() {}

#[func(sandbox = "parser", spares = 2)]
fn generic<T: crossmist::Object + Send>(value: T) -> T {
    value
}

#[func(sandbox = "parser", preload = needs)]
fn with_arguments() {}

fn main() {}
