use crossmist::func;

#[func]
fn push(list: &mut Vec<i32>, number: i32) {
    list.push(number);
}

fn main() {}
