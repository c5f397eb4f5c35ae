//! Changes seeds into inputs that reach further than noise does.

/// A small generator (xorshift64*, Vigna 2016): the same seed gives the same inputs everywhere.
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `n` (0 for `n` = 0).
    fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.next() % n as u64) as usize }
    }
}

/// Numbers that parsers trip over.
const TRIPS: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, 0xfe, 0x20, b'"'];

/// Longest input made, in bytes.
const LONGEST: usize = 1 << 16;

/// One changed copy of one of `seeds` (or noise, if there is none).
pub fn mutate(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = match seeds.len() {
        0 => (0..random.below(64)).map(|_| random.next() as u8).collect(),
        n => seeds[random.below(n)].clone(),
    };
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(9) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = TRIPS[random.below(TRIPS.len())],
            2 => bytes.truncate(at),
            3 => bytes.insert(at, TRIPS[random.below(TRIPS.len())]),
            4 if !bytes.is_empty() => {
                bytes.remove(at);
            }
            5 => {
                // A part twice.
                let end = at + random.below((bytes.len() - at).min(64) + 1);
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            6 => {
                // A length that promises much: an overlong or huge varint, little-endian words.
                let lies: [&[u8]; 3] = [&[0xff; 10], &[0x80, 0x80, 0x80, 0x00], &[0xff, 0xff, 0xff, 0x7f]];
                let lie = lies[random.below(lies.len())];
                let end = (at + lie.len()).min(bytes.len());
                bytes.splice(at..end, lie.iter().copied());
            }
            7 if !seeds.is_empty() => {
                // The beginning of one, the end of another.
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => bytes.extend((0..random.below(16)).map(|_| random.next() as u8)),
        }
        bytes.truncate(LONGEST);
    }
    bytes
}
