//! Signature checks: each distinct statement is checked for real once per run and remembered.

use std::collections::BTreeMap;

use crate::crypto::{Identity, PublicKey, Signature, Validity, check};
use crate::scenario::Cryptography;
use crate::wire::SignedSlot;

type Statement = [u8; SignedSlot::STATEMENT];

struct Known {
    key: PublicKey,
    statement: Box<Statement>,
    verdict: Validity,
}

/// The verdicts of this run.
pub(super) struct Signatures {
    crypto: Cryptography,
    known: BTreeMap<Signature, Vec<Known>>,
    good: Validity,
    bad: Validity,
    /// Number of checks asked for.
    pub asked: u64,
    /// Number of checks that were computed.
    pub made: u64,
}

impl Signatures {
    /// No verdicts are known yet.
    pub(super) fn new(crypto: Cryptography) -> Self {
        // Only a check can make a verdict: one of each is made from sample statements.
        let one = Identity::from_seed(&[1; 32]);
        let signature = one.sign(b"loyal/sim/sample");
        let good = check(&one.public(), b"loyal/sim/sample", &signature);
        let bad = check(&one.public(), b"loyal/sim/other", &signature);
        Self { crypto, known: BTreeMap::new(), good, bad, asked: 0, made: 0 }
    }

    /// Records a signature made in this run. A modelled check finds only these valid.
    pub(super) fn signed(&mut self, key: PublicKey, statement: Statement, signature: Signature) {
        if self.crypto == Cryptography::Modelled {
            let known = Known { key, statement: Box::new(statement), verdict: self.good };
            self.known.entry(signature).or_default().push(known);
        }
    }

    /// Whether the key signed the statement.
    pub(super) fn check(
        &mut self,
        key: &PublicKey,
        statement: &Statement,
        signature: &Signature,
    ) -> Validity {
        self.asked += 1;
        let known = self.known.entry(*signature).or_default();
        if let Some(known) = known.iter().find(|k| k.key == *key && *k.statement == *statement) {
            return known.verdict;
        }
        let verdict = match self.crypto {
            Cryptography::Modelled => self.bad,
            Cryptography::Real => {
                self.made += 1;
                check(key, statement, signature)
            }
        };
        known.push(Known { key: *key, statement: Box::new(*statement), verdict });
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_checked_once_and_never_mistaken_for_another() {
        for crypto in [Cryptography::Real, Cryptography::Modelled] {
            let (one, two) = (Identity::from_seed(&[2; 32]), Identity::from_seed(&[3; 32]));
            let (statement, other) = ([7; SignedSlot::STATEMENT], [8; SignedSlot::STATEMENT]);
            let signature = one.sign(&statement);
            let mut checks = Signatures::new(crypto);
            checks.signed(one.public(), statement, signature);
            for _ in 0..3 {
                assert!(checks.check(&one.public(), &statement, &signature).is_good());
                assert!(!checks.check(&one.public(), &other, &signature).is_good());
                assert!(!checks.check(&two.public(), &statement, &signature).is_good());
            }
            let made = if crypto == Cryptography::Real { 3 } else { 0 };
            assert_eq!((checks.asked, checks.made), (9, made));
        }
    }
}
