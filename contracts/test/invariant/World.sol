// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IPrepaidReserve} from "../../src/interfaces/IPrepaidReserve.sol";
import {ISessionKeyValidator, Status, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {TestUSDC} from "../mocks/TestUSDC.sol";
import {StreamTest} from "../utils/StreamTest.sol";

/// Who and what there is, what the model believes about it, and how a call is made and judged.
///
/// Two kinds of ghost state, kept apart on purpose. The model (`grants`, `states`, `pools`, …) predicts what each call
/// answers: a difference is written to `mismatch` and nothing reverts, so the other invariants go on by themselves. The
/// measurements (`paidTo`, `paidTotal`, `highestPeriod`, `paidWhileStopped`, `raisedBy`) are read from the chain around
/// each call and know nothing of the model's predictions of amounts.
abstract contract World is StreamTest {
    // ------------------------------------------------------------------------------------------------------- types

    struct AccountModel {
        bool installed;
        bool frozen;
        uint64 epoch;
        address guardian;
    }

    struct GrantModel {
        address account;
        uint64 epoch;
        bytes32 id;
        Status status;
        /// How many payees its tree has, the first ones of `payees`. Of a tree of one, `only` is the payee.
        uint8 payees;
        address only;
        Terms terms;
        bytes packed;
    }

    struct PoolModel {
        uint256 balance;
        uint256 withdrawing;
        uint256 withdrawableAt;
    }

    /// A grant as the invariants look at it: limits, what was measured of it, what was signed.
    struct Figures {
        address account;
        bytes32 id;
        Status status;
        address token;
        uint8 source;
        uint256 totalLimit;
        /// Endless if there is none.
        uint256 periodLimit;
        uint256 paid;
        uint256 highestPeriod;
        uint256[3] paidTo;
        uint256[3] vouchers;
    }

    // --------------------------------------------------------------------------------------------------- constants

    uint256 internal constant MAX_GRANTS = 40;
    uint256 internal constant PAYEES = 3;

    // ------------------------------------------------------------------------------------------------ who there is

    Key[3] internal accounts;
    Key[3] internal sessionKeys;
    address[2] internal guardians;
    address[PAYEES] internal payees;
    address internal outsider = makeAddr("outsider");
    TestUSDC[2] internal tokens;
    IPrepaidReserve internal reserve = module.reserve();

    // --------------------------------------------------------------------------------------------------- the model

    /// The moment, kept here and set again in every call.
    uint256 internal time = START;
    /// Who makes the call of this step.
    address internal caller;
    mapping(address account => AccountModel) internal states;
    GrantModel[] internal grants;
    /// Index in `grants`, plus one.
    mapping(bytes32 grantId => uint256) internal indexOf;
    mapping(bytes32 grantId => uint256) internal settledTotal;
    mapping(bytes32 grantId => mapping(address payee => uint256)) internal settledTo;
    mapping(bytes32 grantId => mapping(uint256 period => uint256)) internal settledIn;
    mapping(address account => mapping(address token => PoolModel)) internal pools;
    /// Highest cumulative amount the grant's session key ever signed for the payee.
    mapping(bytes32 grantId => mapping(address payee => uint256)) internal newestVoucher;
    /// The first call that did not answer as the model said; empty while there is none.
    string public mismatch;
    /// How often each thing happened.
    mapping(bytes32 what => uint256) public count;

    // -------------------------------------------------------------------------------------------- the measurements

    mapping(bytes32 grantId => mapping(address payee => uint256)) internal paidTo;
    mapping(bytes32 grantId => uint256) internal paidTotal;
    mapping(bytes32 grantId => mapping(uint256 period => uint256)) internal paidIn;
    mapping(bytes32 grantId => uint256) internal highestPeriod;
    uint256 public paidWhileStopped;
    /// Who else than an account raised what may be done with it; zero while nobody did.
    address public raisedBy;

    // --------------------------------------------------------------------------------------------------- modifiers

    /// Sets the clock, and watches that nobody but an account raises what may be done with it.
    modifier step() {
        vm.warp(time);
        caller = address(0);
        uint256[3] memory live;
        bytes32[3] memory held;
        for (uint256 i = 0; i < accounts.length; i++) {
            (live[i], held[i]) = _authority(accounts[i].addr);
        }
        _;
        for (uint256 i = 0; i < accounts.length; i++) {
            if (accounts[i].addr == caller) continue;
            (uint256 liveNow, bytes32 heldNow) = _authority(accounts[i].addr);
            if (liveNow & ~live[i] != 0 || heldNow != held[i]) raisedBy = caller;
        }
    }

    // ------------------------------------------------------------------------------------------------- constructor

    constructor() {
        vm.warp(time);
        tokens = [usdc, new TestUSDC()];
        guardians = [guardian, makeAddr("other guardian")];
        payees = [payee, otherPayee, makeAddr("third payee")];
        for (uint256 i = 0; i < accounts.length; i++) {
            accounts[i] = makeKey(string.concat("account ", vm.toString(i)));
            sessionKeys[i] = makeKey(string.concat("session key ", vm.toString(i)));
        }
    }

    // ---------------------------------------------------------------------------------------- for the invariants

    function chainModule() external view returns (ISessionKeyValidator) {
        return module;
    }

    function figures() external view returns (Figures[] memory all) {
        all = new Figures[](grants.length);
        for (uint256 i = 0; i < all.length; i++) {
            GrantModel storage g = grants[i];
            Figures memory f = all[i];
            (f.account, f.id, f.status) = (g.account, g.id, g.status);
            (f.token, f.source, f.totalLimit) = (g.terms.token, g.terms.source, g.terms.totalLimit);
            f.periodLimit = g.terms.period == 0 ? type(uint256).max : g.terms.periodLimit;
            (f.paid, f.highestPeriod) = (paidTotal[f.id], highestPeriod[f.id]);
            for (uint256 p = 0; p < PAYEES; p++) {
                (f.paidTo[p], f.vouchers[p]) = (paidTo[f.id][payees[p]], newestVoucher[f.id][payees[p]]);
            }
        }
    }

    function accountAt(uint256 index) external view returns (address, AccountModel memory) {
        return (accounts[index].addr, states[accounts[index].addr]);
    }

    function payeeAt(uint256 index) external view returns (address) {
        return payees[index];
    }

    function tokenAt(uint256 index) external view returns (TestUSDC) {
        return tokens[index];
    }

    function poolAt(address account_, address token) external view returns (PoolModel memory) {
        return pools[account_][token];
    }

    // ----------------------------------------------------------------------------------------------------- choices

    function _account(uint256 seed) internal view returns (Key storage) {
        return accounts[seed % accounts.length];
    }

    function _token(uint256 seed) internal view returns (TestUSDC) {
        return tokens[seed % tokens.length];
    }

    function _grant(uint256 seed) internal view returns (GrantModel storage) {
        return grants[seed % grants.length];
    }

    /// Mostly one that may pay now, if there is one.
    function _payingGrant(uint256 seed) internal view returns (GrantModel storage) {
        for (uint256 i = 0; i < grants.length && seed % 4 != 0; i++) {
            GrantModel storage g = _grant(seed + i);
            if (_isLive(g)) return g;
        }
        return _grant(seed);
    }

    /// Mostly somebody who may: the account, else its guardian, else anybody.
    function _caller(uint256 seed, address account_) internal view returns (address) {
        uint256 kind = seed % 8;
        if (kind < 3) return account_;
        if (kind < 5 && states[account_].guardian != address(0)) return states[account_].guardian;
        return _anybody(seed / 8);
    }

    function _anybody(uint256 seed) internal view returns (address) {
        uint256 kind = seed % 5;
        uint256 which = seed / 5;
        if (kind == 0) return accounts[which % accounts.length].addr;
        if (kind == 1) return sessionKeys[which % sessionKeys.length].addr;
        if (kind == 2) return guardians[which % guardians.length];
        if (kind == 3) return payees[which % PAYEES];
        return stranger;
    }

    function _outsideAccounts(uint256 seed) internal view returns (address) {
        return seed % 2 == 0 ? guardians[seed / 2 % guardians.length] : stranger;
    }

    // ------------------------------------------------------------------------------------------------------- calls

    /// Calls `target` and holds the answer to what is expected: success if `problem` is empty, else this revert data.
    function _call(bytes32 what, address from, address target, bytes memory data, bytes memory problem)
        internal
        returns (bytes memory answer)
    {
        bool success;
        caller = from;
        vm.prank(from);
        (success, answer) = target.call(data);
        if (problem.length == 0) {
            _expect(success, what, answer);
            count[what]++;
        } else {
            _expect(!success && keccak256(answer) == keccak256(problem), what, bytes.concat(answer, " not ", problem));
            count[bytes32(bytes4(problem))]++;
        }
    }

    function _expect(bool holds, bytes32 what, bytes memory found) internal {
        if (holds || bytes(mismatch).length != 0) return;
        mismatch = string.concat(string(bytes.concat(what)), ": ", vm.toString(found));
    }

    // ------------------------------------------------------------------------------------------------------- facts

    /// Whether the grant may pay at this moment, as the model sees it.
    function _isLive(GrantModel storage g) internal view returns (bool) {
        AccountModel storage state = states[g.account];
        return g.status == Status.Active && g.epoch == state.epoch && !state.frozen && time >= g.terms.validAfter
            && time <= g.terms.validUntil;
    }

    function _idOf(address account_, uint64 epoch, bytes memory packed) internal view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(module), account_, epoch, keccak256(packed)));
    }

    function _notLive(bytes32 id, Status status) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(ISessionKeyValidator.GrantNotLive.selector, id, status);
    }

    /// Root of a tree of the first `width` payees, or of `only` alone. The third payee's leaf is a child of the root.
    function _rootOf(uint8 width, address only) internal view returns (bytes32 root) {
        if (width == 1) return leaf(only);
        root = node(leaf(payees[0]), leaf(payees[1]));
        if (width == 3) root = node(root, leaf(payees[2]));
    }

    /// What the chain says may be done with the account: which grants are live, and who else decides.
    function _authority(address account_) private view returns (uint256 live, bytes32 held) {
        (address guardian_, uint64 epoch, bool installed, bool frozen) = module.accountState(account_);
        (,, uint64 withdrawableAt) = reserve.poolOf(account_, address(tokens[0]));
        (,, uint64 otherWithdrawableAt) = reserve.poolOf(account_, address(tokens[1]));
        held = keccak256(abi.encode(guardian_, installed, withdrawableAt, otherWithdrawableAt));
        if (frozen) return (0, held);
        for (uint256 i = 0; i < grants.length; i++) {
            if (grants[i].account != account_ || grants[i].epoch != epoch) continue;
            (Status status,,,) = module.grantState(account_, grants[i].id);
            if (status == Status.Active) live |= 1 << i;
        }
    }
}
