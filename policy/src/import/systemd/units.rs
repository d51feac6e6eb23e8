//! Sizes and times as systemd writes them (systemd.time(7)).

/// A number of bytes: `1.5G`, `4096`. `None` for what isn't one, such as `50%` and `infinity`.
pub(super) fn size(value: &str) -> Option<u64> {
    let (number, unit) = split(value)?;
    let shift = match unit {
        "" | "B" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        "P" => 50,
        "E" => 60,
        _ => return None,
    };
    scaled(number, 1u64.checked_shl(shift)?)
}

/// Microseconds: `1min 30s`, `500ms`, `90`.
pub(super) fn time(value: &str) -> Option<u64> {
    let mut rest = value.trim();
    let mut total: Option<u64> = None;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, behind) = rest.split_at(end);
        let behind = behind.trim_start();
        let end = behind
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(behind.len());
        let (unit, next) = behind.split_at(end);
        let scale = match unit {
            "us" | "usec" | "µs" | "μs" => 1,
            "ms" | "msec" => 1_000,
            "" | "s" | "sec" | "second" | "seconds" => 1_000_000,
            "m" | "min" | "minute" | "minutes" => 60_000_000,
            "h" | "hr" | "hour" | "hours" => 3_600_000_000,
            "d" | "day" | "days" => 86_400_000_000,
            "w" | "week" | "weeks" => 604_800_000_000,
            _ => return None,
        };
        total = Some(total.unwrap_or(0).checked_add(scaled(number, scale)?)?);
        rest = next.trim_start();
    }
    total
}

/// Returns the hard limit, which follows the last `:`.
pub(super) fn hard(value: &str) -> &str {
    value.rsplit(':').next().unwrap_or(value).trim()
}

/// A size in the words of a policy.
pub(super) fn in_bytes(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units
        .iter()
        .find(|(_, shift)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    match unit {
        Some((unit, shift)) => format!("\"{}{unit}\"", bytes >> shift),
        None => format!("\"{bytes}B\""),
    }
}

/// A time in the words of a policy, rounded down.
pub(super) fn in_time(microseconds: u64) -> String {
    match microseconds / 1000 {
        ms if ms % 1000 == 0 => format!("\"{}s\"", ms / 1000),
        ms => format!("\"{ms}ms\""),
    }
}

fn split(value: &str) -> Option<(&str, &str)> {
    let end = value
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(value.len());
    (end > 0).then(|| (&value[..end], value[end..].trim()))
}

/// A decimal number times a scale, rounded down.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let total = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    if part.is_empty() {
        return Some(total);
    }
    let digits = part.get(..part.len().min(9))?;
    if !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let parts = u128::from(scale) * digits.parse::<u128>().ok()?;
    let tens = 10u128.pow(u32::try_from(digits.len()).ok()?);
    total.checked_add(u64::try_from(parts / tens).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_add_up_and_sizes_have_units() {
        assert_eq!(time("1min 30s"), Some(90_000_000));
        assert_eq!(time("1min30s"), Some(90_000_000));
        assert_eq!(time("1.5h"), Some(5_400_000_000));
        assert_eq!(time("90"), Some(90_000_000));
        assert_eq!(time("infinity"), None);
        assert_eq!(time(""), None);
        assert_eq!(time("99999999999999w"), None);
        assert_eq!(size("1.5G"), Some(3 << 29));
        assert_eq!(size("64M"), Some(64 << 20));
        assert_eq!(
            (size("50%"), size("infinity"), size("16E")),
            (None, None, None)
        );
        assert_eq!(in_bytes(64 << 20), "\"64MiB\"");
        assert_eq!(in_time(1_500_000), "\"1500ms\"");
        assert_eq!(in_time(90_000_000), "\"90s\"");
        assert_eq!(hard("64:128"), "128");
    }
}
