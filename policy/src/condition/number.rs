//! Numbers as policies write them: `420`, `0x1a4`, `0o644`.

/// A number, or why a text is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    Is(u64),
    /// It begins with a zero, by which C marks octal numbers and others don't.
    Octal,
    /// It is no number, or a larger one than 64 bits hold.
    Not,
}

/// Reads a number.
pub(crate) fn number(text: &str) -> Number {
    let digits = text.replace('_', "");
    let (digits, radix) = if let Some(hexadecimal) = digits.strip_prefix("0x") {
        (hexadecimal, 16)
    } else if let Some(octal) = digits.strip_prefix("0o") {
        (octal, 8)
    } else if digits.len() > 1 && digits.starts_with('0') {
        return Number::Octal;
    } else {
        (digits.as_str(), 10)
    };
    match u64::from_str_radix(digits, radix) {
        Ok(number) if !digits.starts_with('+') => Number::Is(number),
        _ => Number::Not,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leading_zero_is_never_taken_for_decimal() {
        assert_eq!(number("420"), Number::Is(420));
        assert_eq!(number("0x1a4"), Number::Is(420));
        assert_eq!(number("0o644"), Number::Is(420));
        assert_eq!(number("0"), Number::Is(0));
        assert_eq!(
            (number("0644"), number("00")),
            (Number::Octal, Number::Octal)
        );
        assert_eq!(
            (number("0o9"), number("+1"), number("0x")),
            (Number::Not, Number::Not, Number::Not)
        );
    }
}
