//! Chance that is none: draws that are pure functions of a stream and a number, the same on every machine, in any order.

/// The draw for `number` of the random stream `stream`: 64 bits.
pub fn draw(stream: u64, number: u64) -> u64 {
    mix(number ^ mix(stream))
}

/// SplitMix64's output function.
pub fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Ranks of which the first ones are drawn most: the weight of rank `r` is 1 / (r + 1)^0.7, as among a shop's customers.
#[derive(Debug, Clone)]
pub struct Zipf {
    /// Running sums of the weights.
    sums: Vec<u64>,
}

impl Zipf {
    /// Ranks 0 to `count` - 1; `count` is above zero.
    pub fn new(count: usize) -> Self {
        let weights = (0..count.max(1)).map(|rank| (1e9 / (rank as f64 + 1.0).powf(0.7)) as u64);
        let sums = weights.scan(0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Zipf { sums: sums.collect() }
    }

    /// The rank that a draw falls on.
    pub fn rank(&self, draw: u64) -> usize {
        let all = self.sums.last().copied().unwrap_or(1);
        self.sums.partition_point(|sum| *sum <= draw % all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_ranks_come_most() {
        let zipf = Zipf::new(1_000);
        let mut counts = vec![0; 1_000];
        for number in 0..100_000 {
            counts[zipf.rank(draw(7, number))] += 1;
        }
        assert!(counts[0] > counts[9] && counts[9] > counts[99] && counts[99] > counts[999], "{:?}", &counts[..10]);
        assert!(counts[999] > 0);
    }
}
