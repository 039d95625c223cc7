// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {World} from "./World.sol";

/// Writes vouchers and claims, honest and dishonest ones, and remembers what is true of each.
abstract contract Drafts is World {
    // ------------------------------------------------------------------------------------------------------- types

    /// What the fuzzer chooses of a claim.
    struct ClaimSeed {
        uint8 payee;
        uint8 kind;
        uint16 amount;
        uint16 more;
        uint8 proof;
    }

    /// A claim, and what its signature and its proof really are.
    struct Draft {
        address payee;
        uint96 amount;
        uint128 cumulativeAmount;
        bytes signature;
        uint8 proofLength;
        bytes proof;
        address signedBy;
        bytes32 signedId;
        address signedPayee;
        uint128 signedAmount;
        /// Whether `proof` leads from the payee to the root of the grant it was drafted for.
        bool proven;
    }

    /// Arguments of `settle`, and where the claims stop being readable.
    struct Batch {
        address account;
        bytes terms;
        bytes claims;
        Draft[] drafts;
        uint256 malformedAt;
    }

    // --------------------------------------------------------------------------------------------------- constants

    // Kinds of claims. Those below REPLAY are honest and new.
    uint8 internal constant REPLAY = 6;
    uint8 internal constant OLDER = 7;
    uint8 internal constant ABOVE_VOUCHER = 8;
    uint8 internal constant WRONG_KEY = 9;
    uint8 internal constant OTHER_GRANT = 10;
    uint8 internal constant OTHER_PAYEE = 11;
    uint8 internal constant INFLATED = 12;
    uint8 internal constant OUTSIDER = 13;
    uint8 internal constant HUGE = 14;
    uint8 internal constant OPEN_VOUCHER = 15;
    uint8 internal constant KINDS = 16;

    // Kinds of proofs. Those below KNOWN are the right ones.
    uint8 internal constant KNOWN = 4;
    uint8 internal constant NO_PROOF = 6;
    uint8 internal constant WRONG_PROOF = 7;
    uint8 internal constant PROOFS = 8;

    // What is wrong with an encoding. From SOUND on nothing is.
    uint8 internal constant CUT = 0;
    uint8 internal constant EMPTY = 1;
    uint8 internal constant LONG_PROOF = 2;
    uint8 internal constant TRAILING = 3;
    uint8 internal constant LONG_TERMS = 4;
    uint8 internal constant SOUND = 5;
    uint8 internal constant ENCODINGS = 32;

    uint8 internal constant KNOWN_PAYEE = 0xff;
    uint256 internal constant READABLE = type(uint256).max;

    // ----------------------------------------------------------------------------------------------------- storage

    /// The claim that was last paid to a payee, to present it again.
    mapping(bytes32 grantId => mapping(address payee => Draft)) internal lastPaid;

    // -------------------------------------------------------------------------------------------------- internal

    function _draft(GrantModel storage g, ClaimSeed memory seed) internal returns (Draft memory d) {
        uint8 kind = seed.kind % KINDS;
        d.payee = g.payees == 1 ? g.only : payees[seed.payee % g.payees];
        if (kind == REPLAY && lastPaid[g.id][d.payee].amount != 0) return lastPaid[g.id][d.payee];
        if (kind == OUTSIDER) d.payee = seed.payee % 2 == 0 ? outsider : payees[seed.payee / 2 % PAYEES];

        uint256 settled = settledTo[g.id][d.payee];
        d.amount = uint96(settled + 1 + seed.amount % 150);
        if (kind == OLDER) d.amount = uint96(settled * (seed.amount % 256) / 256);
        if (kind == HUGE) d.amount = g.terms.totalLimit - seed.amount % 100 + seed.more % 200;
        d.cumulativeAmount = d.amount + seed.more % 50;
        if (kind == OPEN_VOUCHER) d.cumulativeAmount = type(uint128).max;

        d.signedBy = g.terms.sessionKey;
        d.signedId = g.id;
        d.signedPayee = d.payee;
        d.signedAmount = d.cumulativeAmount;
        if (kind == ABOVE_VOUCHER) d.amount = uint96(d.cumulativeAmount) + 1 + seed.more % 50;
        if (kind == WRONG_KEY) d.signedBy = sessionKeys[seed.more % sessionKeys.length].addr;
        if (kind == OTHER_GRANT) d.signedId = _grant(seed.more).id;
        if (kind == OTHER_PAYEE) d.signedPayee = payees[seed.more % PAYEES];
        if (kind == INFLATED) d.signedAmount = d.cumulativeAmount - 1;
        d.signature = _signVoucher(d.signedBy, d.signedId, d.signedPayee, d.signedAmount);
        _prove(g, d, seed.proof % PROOFS);
    }

    /// Signs, and keeps in mind what the grant's session key has promised by that.
    function _signVoucher(address by, bytes32 id, address to, uint128 amount) private returns (bytes memory) {
        uint256 index = indexOf[id];
        if (grants[index - 1].terms.sessionKey == by && amount > newestVoucher[id][to]) newestVoucher[id][to] = amount;
        return signCompact(_sessionKey(by), module.hashVoucher(id, to, amount));
    }

    function _sessionKey(address by) private view returns (Key memory) {
        for (uint256 i = 1; i < sessionKeys.length; i++) {
            if (sessionKeys[i].addr == by) return sessionKeys[i];
        }
        return sessionKeys[0];
    }

    /// The right proof mostly; that the payee is known; none; a wrong one. Of a single payee none is the right one, and
    /// it is known to nobody.
    function _prove(GrantModel storage g, Draft memory d, uint8 kind) private view {
        bool single = g.payees == 1;
        if (kind == WRONG_PROOF) {
            (d.proofLength, d.proof) = (1, abi.encode(keccak256(abi.encode(d.payee, d.amount))));
        } else if (kind == KNOWN || (kind == KNOWN + 1 && !single)) {
            d.proofLength = KNOWN_PAYEE;
        } else if (!single && kind != NO_PROOF) {
            (d.proof, d.proven) = _proofIn(g.payees, d.payee);
            d.proofLength = uint8(d.proof.length / 32);
        }
    }

    /// The proof in a tree of the first two or three payees, see `_rootOf`; of somebody else one that proves nothing.
    function _proofIn(uint8 width, address to) private view returns (bytes memory proof, bool proven) {
        bytes32 pair = node(leaf(payees[0]), leaf(payees[1]));
        bytes32 third = leaf(payees[2]);
        if (width == 3 && to == payees[2]) return (abi.encode(pair), true);
        bytes32 sibling = leaf(to == payees[0] ? payees[1] : payees[0]);
        proven = to == payees[0] || to == payees[1];
        proof = width == 3 ? abi.encode(sibling, third) : abi.encode(sibling);
    }

    /// Encodes claims under the terms of `g`, soundly or not.
    function _batch(GrantModel storage g, Draft[] memory drafts, uint8 encoding)
        internal
        view
        returns (Batch memory b)
    {
        (b.account, b.terms, b.drafts, b.malformedAt) = (g.account, g.packed, drafts, READABLE);
        encoding = encoding % ENCODINGS;
        uint256 last;
        for (uint256 i = 0; i < drafts.length; i++) {
            last = b.claims.length;
            Draft memory d = drafts[i];
            uint8 length = d.proofLength;
            if (encoding == LONG_PROOF && i == drafts.length - 1) length = uint8(33 + d.amount % (KNOWN_PAYEE - 33));
            b.claims = bytes.concat(
                b.claims, abi.encodePacked(d.payee, d.amount, d.cumulativeAmount, d.signature, length, d.proof)
            );
        }
        uint256 whole = b.claims.length;
        if (encoding == LONG_TERMS) b.terms = bytes.concat(b.terms, hex"00");
        if (encoding == TRAILING) b.claims = bytes.concat(b.claims, hex"00");
        if (encoding == EMPTY) b.claims = "";
        if (encoding == CUT) b.claims = _cut(b.claims);
        b.malformedAt = _malformedAt(drafts, encoding, last, whole);
    }

    /// The first place where the claims cannot be read. A claim without a proof stands alone.
    function _malformedAt(Draft[] memory drafts, uint8 encoding, uint256 last, uint256 whole)
        private
        pure
        returns (uint256)
    {
        if (encoding == EMPTY) return 0;
        bool alone = drafts.length == 1 && encoding != TRAILING;
        uint256 offset = 0;
        for (uint256 i = 0; i < drafts.length; i++) {
            bool spoiled = encoding == CUT || encoding == LONG_PROOF;
            if (spoiled && offset == last) return offset;
            if (drafts[i].proofLength == 0 && !alone) return offset;
            offset += 113 + drafts[i].proof.length;
        }
        return encoding == TRAILING ? whole : READABLE;
    }

    function _cut(bytes memory data) private pure returns (bytes memory shorter) {
        shorter = new bytes(data.length - 1);
        for (uint256 i = 0; i < shorter.length; i++) {
            shorter[i] = data[i];
        }
    }
}
