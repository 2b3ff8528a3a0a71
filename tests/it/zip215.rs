//! The signature rule, ZIP-215, at its edges: single checks, bulk checks and the rule as written
//! agree.

use curve25519_dalek::{
    constants::{ED25519_BASEPOINT_POINT as B, EIGHT_TORSION},
    edwards::{CompressedEdwardsY, EdwardsPoint},
    scalar::Scalar,
    traits::IsIdentity,
};
use loyal::crypto::{PublicKey, Signature, check, hex};
use rand::SeedableRng as _;
use sha2::{Digest as _, Sha512};

/// The order L of the base point, little-endian.
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];
/// The message that every case signs.
pub(crate) const MESSAGE: &[u8] = b"Zcash";

/// A signature, and whether the rule accepts it.
#[derive(Clone)]
pub(crate) struct Case {
    /// What is special about the case.
    pub name: String,
    /// The key, `A`.
    pub key: [u8; 32],
    /// The signature: `R`, then `S`.
    pub signature: [u8; 64],
    /// Whether the signature is valid by ZIP-215.
    pub valid: bool,
}

fn case(name: impl Into<String>, key: [u8; 32], r: [u8; 32], s: [u8; 32], valid: bool) -> Case {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r);
    signature[32..].copy_from_slice(&s);
    Case { name: name.into(), key, signature, valid }
}

fn scalar(n: u64) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&Sha512::digest(n.to_be_bytes()).into())
}

fn challenge(r: &[u8; 32], key: &[u8; 32]) -> Scalar {
    let hash = Sha512::new().chain_update(r).chain_update(key).chain_update(MESSAGE);
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

/// `value` + `times` · L, as a little-endian number of 256 bits.
pub(crate) fn plus_l(value: [u8; 32], times: u8) -> [u8; 32] {
    let mut sum = value;
    for _ in 0..times {
        let mut carry = 0u16;
        for (byte, add) in sum.iter_mut().zip(L) {
            carry += u16::from(*byte) + u16::from(add);
            *byte = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        assert_eq!(carry, 0, "it fits 256 bits");
    }
    sum
}

/// Encodings of points that are not canonical: `y` in `p..2^255`, or `x = 0` with the sign bit set.
pub(crate) fn non_canonical() -> Vec<[u8; 32]> {
    let mut found = Vec::new();
    let mut minus_one = [0xff; 32];
    (minus_one[0], minus_one[31]) = (0xec, 0x7f);
    let mut one = [0; 32];
    one[0] = 1;
    let mut candidates = vec![one, minus_one];
    for low in 0xed..=0xff {
        let mut y = [0xff; 32];
        (y[0], y[31]) = (low, 0x7f);
        candidates.push(y);
    }
    for mut y in candidates {
        for sign in [0, 0x80] {
            y[31] = (y[31] & 0x7f) | sign;
            let point = CompressedEdwardsY(y).decompress();
            if point.is_some_and(|point| point.compress().0 != y) {
                found.push(y);
            }
        }
    }
    found
}

/// The eight canonical encodings of the points of small order, then their six other encodings.
pub(crate) fn small_order() -> Vec<[u8; 32]> {
    let point = |bytes: &[u8; 32]| CompressedEdwardsY(*bytes).decompress().expect("a point");
    let others = non_canonical().into_iter().filter(|bytes| point(bytes).is_small_order());
    EIGHT_TORSION.iter().map(|point| point.compress().0).chain(others).collect()
}

/// The 14 × 14 matrix of the ZIP-215 test suite: every `A` and `R` of small order, with `S = 0`.
fn matrix() -> Vec<Case> {
    let points = small_order();
    let mut cases = Vec::new();
    for (i, key) in points.iter().enumerate() {
        for (j, r) in points.iter().enumerate() {
            cases.push(case(format!("small order {i} {j}"), *key, *r, [0; 32], true));
        }
    }
    cases
}

/// A genuine signature with points of small order added to `A` and `R`, in all 64 ways.
fn torsioned() -> Vec<Case> {
    let (a, r) = (scalar(1), scalar(2));
    let mut cases = Vec::new();
    for (i, on_key) in EIGHT_TORSION.iter().enumerate() {
        for (j, on_r) in EIGHT_TORSION.iter().enumerate() {
            let key = (a * B + on_key).compress().0;
            let commitment = (r * B + on_r).compress().0;
            let s = r + challenge(&commitment, &key) * a;
            let name = format!("torsion {i} on A, {j} on R");
            cases.push(case(name, key, commitment, s.to_bytes(), true));
        }
    }
    cases
}

/// Signatures whose `S` is not below L, and the one with `S` reduced.
fn unreduced() -> Vec<Case> {
    let (a, r) = (scalar(3), scalar(4));
    let (key, commitment) = ((a * B).compress().0, (r * B).compress().0);
    let s = (r + challenge(&commitment, &key) * a).to_bytes();
    let mut cases = vec![case("S reduced", key, commitment, s, true)];
    for times in 1..=14 {
        let name = format!("S + {times} L");
        cases.push(case(name, key, commitment, plus_l(s, times), false));
    }
    let small = EIGHT_TORSION[1].compress().0;
    cases.push(case("S = L", small, small, L, false));
    cases.push(case("S = 2^256 - 1", small, small, [0xff; 32], false));
    let mut high = s;
    high[31] |= 0x80;
    cases.push(case("S with its highest bit", key, commitment, high, false));
    cases
}

/// Encodings that are not points, and plain forgeries.
fn refused() -> Vec<Case> {
    let (a, r) = (scalar(5), scalar(6));
    let (key, commitment) = ((a * B).compress().0, (r * B).compress().0);
    let s = (r + challenge(&commitment, &key) * a).to_bytes();
    let mut no_point = [0; 32];
    no_point[0] = 2;
    let mut cases = vec![
        case("A is no point", no_point, commitment, s, false),
        case("R is no point", key, no_point, s, false),
        case("S of another R", key, ((r + r) * B).compress().0, s, false),
        case("S made up", key, commitment, scalar(10).to_bytes(), false),
        case("all zeros", key, [0; 32], [0; 32], false),
    ];
    for (i, other) in non_canonical().into_iter().enumerate() {
        let large = !CompressedEdwardsY(other).decompress().expect("a point").is_small_order();
        if large {
            cases.push(case(format!("R another's point, {i}"), key, other, s, false));
        }
    }
    cases
}

/// The twelve cases of "Taming the many EdDSAs" (Chalkias, Garillot, Nikolaenko 2020), table 5,
/// constructed anew. Each name says what the case is about.
fn taming() -> Vec<Case> {
    let (a, r) = (scalar(7), scalar(8));
    let torsion = EIGHT_TORSION[1];
    let small = torsion.compress().0;
    let pure = (a * B).compress().0;
    let mixed = (a * B + torsion).compress().0;
    let pure_r = (r * B).compress().0;
    let mixed_r = (r * B + torsion).compress().0;
    let plain = |key: &[u8; 32], r_bytes: &[u8; 32], r: Scalar, a: Scalar| {
        (r + challenge(r_bytes, key) * a).to_bytes()
    };
    let zero = Scalar::ZERO;
    let other = non_canonical().into_iter().find(|bytes| {
        CompressedEdwardsY(*bytes).decompress().is_some_and(|point| point.is_small_order())
    });
    let other = other.expect("there are six");
    let reduced = CompressedEdwardsY(other).decompress().expect("a point").compress().0;
    let s6 = plain(&pure, &pure_r, r, a);
    vec![
        case("0: S = 0, A and R small", small, small, [0; 32], true),
        case("1: A small, R mixed", small, mixed_r, plain(&small, &mixed_r, r, zero), true),
        case("2: A mixed, R small", mixed, small, plain(&mixed, &small, zero, a), true),
        cofactorless(),
        case("4: A and R mixed", mixed, mixed_r, plain(&mixed, &mixed_r, r, a), true),
        case("5: A mixed, R of order L", mixed, pure_r, plain(&mixed, &pure_r, r, a), true),
        case("6: S above L", pure, pure_r, plus_l(s6, 1), false),
        case("7: S far above L", pure, pure_r, plus_l(s6, 14), false),
        case(
            "8: R not canonical, hashed reduced",
            pure,
            other,
            plain(&pure, &reduced, zero, a),
            false,
        ),
        case(
            "9: R not canonical, hashed as sent",
            pure,
            other,
            plain(&pure, &other, zero, a),
            true,
        ),
        case("10: A not canonical, hashed reduced", other, mixed_r, r.to_bytes(), true),
        case("11: A not canonical, hashed as sent", other, pure_r, r.to_bytes(), true),
    ]
}

/// Case 3: `A` and `R` have mixed order, and `R + [k]A = [S]B` holds without the cofactor too.
/// Found by trying values of `R`.
fn cofactorless() -> Case {
    let a = scalar(9);
    let point = a * B + EIGHT_TORSION[1];
    let key = point.compress().0;
    for n in 100.. {
        let r = scalar(n);
        for torsion in &EIGHT_TORSION[1..] {
            let commitment = (r * B + torsion).compress().0;
            let k = challenge(&commitment, &key);
            let s = r + k * a;
            if (r * B + torsion + k * point - s * B).is_identity() {
                let name = "3: A and R mixed, valid without cofactor too";
                return case(name, key, commitment, s.to_bytes(), true);
            }
        }
    }
    unreachable!("one in eight will do");
}

/// All cases of all groups.
pub(crate) fn cases() -> Vec<Case> {
    [matrix(), torsioned(), unreduced(), refused(), taming()].concat()
}

/// The rule as ZIP-215 states it.
fn by_the_book(case: &Case) -> bool {
    let (r_bytes, s_bytes) = case.signature.split_first_chunk().expect("64 bytes");
    let s_bytes: [u8; 32] = s_bytes.try_into().expect("32 bytes");
    let point = |bytes: &[u8; 32]| CompressedEdwardsY(*bytes).decompress();
    let (Some(key), Some(r)) = (point(&case.key), point(r_bytes)) else { return false };
    let Some(s) = Option::<Scalar>::from(Scalar::from_canonical_bytes(s_bytes)) else {
        return false;
    };
    let k = challenge(r_bytes, &case.key);
    let difference: EdwardsPoint = r + k * key - s * B;
    difference.mul_by_cofactor().is_identity()
}

fn single(case: &Case) -> bool {
    check(&PublicKey(case.key), MESSAGE, &Signature(case.signature)).is_good()
}

fn bulk(cases: &[&Case], seed: u64) -> bool {
    let mut verifier = ed25519_zebra::batch::Verifier::new();
    for case in cases {
        verifier.queue((case.key.into(), case.signature.into(), MESSAGE));
    }
    verifier.verify(rand::rngs::ChaCha8Rng::seed_from_u64(seed)).is_ok()
}

fn strict(case: &Case) -> bool {
    ed25519_dalek::VerifyingKey::from_bytes(&case.key)
        .is_ok_and(|key| key.verify_strict(MESSAGE, &case.signature.into()).is_ok())
}

#[test]
fn there_are_fourteen_encodings_of_small_order() {
    assert_eq!(small_order().len(), 14);
    assert_eq!(matrix().len(), 196);
}

#[test]
fn the_check_is_the_rule_as_written() {
    for case in cases() {
        assert_eq!(by_the_book(&case), case.valid, "the book on {}", case.name);
        assert_eq!(single(&case), case.valid, "{}: {}", case.name, hex(&case.signature));
    }
}

#[test]
fn bulk_and_single_agree_on_every_case_alone_and_together() {
    let all = cases();
    for (seed, case) in (0..).zip(&all) {
        assert_eq!(bulk(&[case], seed), single(case), "{}", case.name);
    }
    let good: Vec<&Case> = all.iter().filter(|case| case.valid).collect();
    assert!(bulk(&good, 1));
    for (seed, bad) in (0..).zip(all.iter().filter(|case| !case.valid)) {
        let window = &good[seed as usize % 200..][..30];
        let together: Vec<&Case> = window.iter().copied().chain([bad]).collect();
        assert!(!bulk(&together, seed), "{}", bad.name);
    }
}

#[test]
fn bulk_and_single_agree_on_mutations() {
    use rand::RngExt as _;
    let mut rng = rand::rngs::ChaCha8Rng::seed_from_u64(215);
    let all = cases();
    for round in 0..600 {
        let mut case = all[rng.random_range(0..all.len())].clone();
        match round % 3 {
            0 => case.signature[rng.random_range(0..64)] ^= 1 << rng.random_range(0..8),
            1 => case.key[rng.random_range(0..32)] ^= 1 << rng.random_range(0..8),
            _ => case.key = all[rng.random_range(0..all.len())].key,
        }
        let expected = by_the_book(&case);
        assert_eq!(single(&case), expected, "round {round}, {}", case.name);
        assert_eq!(bulk(&[&case], round), expected, "round {round}, {}", case.name);
    }
}

/// The negative control: another rule in wide use disagrees with many cases, so they do lie at the
/// edge.
#[test]
fn the_strict_rule_disagrees() {
    let disagree = cases().iter().filter(|case| strict(case) != case.valid).count();
    assert!(disagree > 200, "only {disagree}");
    assert!(cases().iter().all(|case| case.valid || !strict(case)), "strict takes no more");
    assert!(cases().iter().any(strict), "and takes something");
}
