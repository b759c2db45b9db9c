//! Chance that repeats: the same seed gives the same line, on every platform.

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, PartialEq, Debug)]
pub struct Chance(u64);

impl Chance {
    /// Starts from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `low..high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number around `mean`, rarely further away than three `deviation`s.
    pub fn around(&mut self, mean: f64, deviation: f64) -> f64 {
        let sum: f64 = (0..4).map(|_| self.between(-1.0, 1.0)).sum();
        mean + sum * deviation * (3.0f64 / 4.0).sqrt()
    }
}
