//! Divides an amount by the method of the largest remainder.

use std::cmp::Reverse;

/// One part for each weight, in the same order. The parts add up to `total`.
///
/// # Errors
/// Nobody has a weight.
pub fn split(total: u32, weights: &[u16]) -> Result<Vec<u32>, String> {
    let sum: u64 = weights.iter().copied().map(u64::from).sum();
    if sum == 0 {
        return Err("nobody pays: give at least one payer a weight above 0".to_owned());
    }
    let exact = |weight: &u16| u64::from(total) * u64::from(*weight);
    let mut parts: Vec<u64> = weights.iter().map(|weight| exact(weight) / sum).collect();
    let left = u64::from(total) - parts.iter().sum::<u64>();

    let mut most_cut: Vec<usize> = (0..weights.len()).collect();
    most_cut.sort_by_key(|&payer| Reverse(exact(&weights[payer]) % sum));
    for (_, payer) in (0..left).zip(most_cut) {
        parts[payer] += 1;
    }
    // No part is larger than the total.
    Ok(parts.into_iter().map(|part| part as u32).collect())
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn parts_add_up() {
        assert_eq!(split(1000, &[1, 1, 1]).unwrap(), [334, 333, 333]);
        assert_eq!(split(u32::MAX, &[u16::MAX, 1, 0]).unwrap().iter().sum::<u32>(), u32::MAX);
    }

    #[test]
    fn what_remains_goes_to_those_cut_the_most() {
        assert_eq!(split(100, &[1, 1, 4]).unwrap(), [17, 17, 66]);
        assert_eq!(split(10, &[3, 3, 1, 0]).unwrap(), [4, 4, 2, 0]);
    }

    #[test]
    fn somebody_has_to_pay() {
        assert!(split(1000, &[]).is_err());
        assert!(split(1000, &[0, 0]).is_err());
    }
}
