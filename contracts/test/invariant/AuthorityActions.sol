// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ISessionKeyValidator, Status, Terms} from "../../src/interfaces/ISessionKeyValidator.sol";
import {World} from "./World.sol";

/// What an account gives, and what it, its guardian and its session keys take back; by whoever tries.
abstract contract AuthorityActions is World {
    // ---------------------------------------------------------------------------------------------- installation

    function installModule(uint8 who, uint8 guardianSeed, uint8 shape) external step {
        address account_ = _account(who).addr;
        for (uint256 i = 0; i < accounts.length && states[account_].installed; i++) {
            account_ = _account(i).addr;
        }
        bytes memory data = abi.encode(_guardian(guardianSeed, account_));
        if (shape % 8 == 0) data = "";
        if (shape % 8 == 1) data = new bytes(31);

        AccountModel storage state = states[account_];
        bytes memory problem;
        if (state.installed) {
            problem = abi.encodeWithSelector(ISessionKeyValidator.AlreadyInstalled.selector, account_);
        } else if (data.length == 31) {
            problem = abi.encodeWithSelector(ISessionKeyValidator.MalformedInstallData.selector, data.length);
        } else if (data.length == 32 && _guardian(guardianSeed, account_) == account_) {
            problem = abi.encodeWithSelector(ISessionKeyValidator.InvalidGuardian.selector, account_);
        } else {
            state.installed = true;
            if (data.length == 32) state.guardian = _guardian(guardianSeed, account_);
        }
        _call("onInstall", account_, address(module), abi.encodeCall(module.onInstall, (data)), problem);
    }

    /// Seldom by an account: that ends all its grants. By others it changes nothing.
    function uninstallModule(uint8 who, uint8 which, bytes calldata data) external step {
        address from = who % 8 == 0 ? _account(which).addr : _outsideAccounts(which);
        AccountModel storage state = states[from];
        if (state.installed) {
            (state.installed, state.frozen, state.guardian) = (false, false, address(0));
            state.epoch++;
            count["onUninstall of a user"]++;
        }
        _call("onUninstall", from, address(module), abi.encodeCall(module.onUninstall, (data)), "");
    }

    function appointGuardian(uint8 who, uint8 guardianSeed) external step {
        address from = who % 4 == 0 ? _anybody(who / 4) : _account(who / 4).addr;
        address appointed = _guardian(guardianSeed, from);
        bytes memory problem = _notInstalled(from);
        if (problem.length == 0 && appointed == from) {
            problem = abi.encodeWithSelector(ISessionKeyValidator.InvalidGuardian.selector, from);
        }
        if (problem.length == 0) states[from].guardian = appointed;
        _call("setGuardian", from, address(module), abi.encodeCall(module.setGuardian, (appointed)), problem);
    }

    // ---------------------------------------------------------------------------------------------------- grants

    function createGrant(uint8 who, uint256 seed, uint8 flaw) external step {
        if (grants.length == MAX_GRANTS) return;
        address from = who % 8 == 0 ? _anybody(who / 8) : _account(who / 8).addr;
        uint8 width = uint8(1 + (seed >> 8) % PAYEES);
        address only = payees[(seed >> 16) % PAYEES];
        Terms memory terms = _terms(seed, width, only);
        bytes memory problem = _spoil(terms, from, flaw);
        bytes memory notInstalled = _notInstalled(from);
        _grantAs(from, terms, width, only, notInstalled.length != 0 ? notInstalled : problem);
    }

    /// Terms that were granted before: refused in the same epoch, another grant in a later one. By somebody else they
    /// are that one's own grant, or nothing.
    function repeatGrant(uint8 which, uint8 who) external step {
        if (grants.length == MAX_GRANTS) return;
        GrantModel storage g = _grant(which);
        address from = who % 4 == 0 ? _anybody(who / 4) : g.account;
        Terms memory terms = g.terms;
        bytes memory problem = _notInstalled(from);
        if (problem.length == 0 && (terms.sessionKey == from || terms.sessionKey == states[from].guardian)) {
            problem = abi.encodeWithSelector(ISessionKeyValidator.InvalidSessionKey.selector, terms.sessionKey);
        } else if (problem.length == 0 && terms.validUntil <= time) {
            problem = abi.encodeWithSelector(
                ISessionKeyValidator.InvalidValidity.selector, terms.validAfter, terms.validUntil
            );
        }
        _grantAs(from, terms, g.payees, g.only, problem);
    }

    function freeze(uint8 which, uint8 who, bool all) external step {
        GrantModel storage g = _grant(which);
        address from = _caller(who, g.account);
        bytes memory problem = _notAccountOrGuardian(from, g.account);
        if (all) {
            bytes memory notInstalled = _notInstalled(g.account);
            if (notInstalled.length != 0) problem = notInstalled;
            if (problem.length == 0) states[g.account].frozen = true;
            _call("freezeAll", from, address(module), abi.encodeCall(module.freezeAll, (g.account)), problem);
        } else {
            if (problem.length == 0 && g.status == Status.Revoked) problem = _notLive(g.id, g.status);
            if (problem.length == 0) g.status = Status.Frozen;
            _call("freeze", from, address(module), abi.encodeCall(module.freeze, (g.account, g.id)), problem);
        }
    }

    /// There is no account to name: whoever calls can resume only its own.
    function unfreeze(uint8 which, uint8 who, bool all) external step {
        GrantModel storage g = _grant(which);
        address from = who % 4 == 0 ? _caller(who / 4, g.account) : g.account;
        if (all) {
            bytes memory problem = _notInstalled(from);
            if (problem.length == 0) states[from].frozen = false;
            _call("unfreezeAll", from, address(module), abi.encodeCall(module.unfreezeAll, ()), problem);
        } else {
            Status status = from == g.account ? g.status : Status.None;
            bytes memory problem;
            if (status == Status.None || status == Status.Revoked) problem = _notLive(g.id, status);
            else g.status = Status.Active;
            _call("unfreeze", from, address(module), abi.encodeCall(module.unfreeze, (g.id)), problem);
        }
    }

    /// Seldom by somebody who may, and seldom all: that ends all grants of the account.
    function revoke(uint8 which, uint8 who, uint8 all) external step {
        GrantModel storage g = _grant(which);
        address from = who % 4 == 0 ? _caller(who / 4, g.account) : _anybody(who / 4);
        bytes memory problem = _notAccountOrGuardian(from, g.account);
        if (all % 4 == 0) {
            bytes memory notInstalled = _notInstalled(g.account);
            if (notInstalled.length != 0) problem = notInstalled;
            if (problem.length == 0) states[g.account].epoch++;
            _call("revokeAll", from, address(module), abi.encodeCall(module.revokeAll, (g.account)), problem);
        } else {
            if (problem.length == 0) g.status = Status.Revoked;
            _call("revoke", from, address(module), abi.encodeCall(module.revoke, (g.account, g.id)), problem);
        }
    }

    /// Seldom by the session key.
    function giveUp(uint8 which, uint8 who, uint8 cut) external step {
        GrantModel storage g = _grant(which);
        address from = who % 8 == 0 ? g.terms.sessionKey : _anybody(who / 8);
        bytes memory packed = g.packed;
        if (cut % 8 == 0) packed = bytes.concat(packed, hex"00");

        uint256 index = indexOf[_idOf(g.account, states[g.account].epoch, packed)];
        bytes memory problem;
        if (packed.length != 157) {
            problem = abi.encodeWithSelector(ISessionKeyValidator.MalformedTerms.selector, packed.length);
        } else if (from != g.terms.sessionKey) {
            problem = abi.encodeWithSelector(ISessionKeyValidator.Unauthorized.selector, from, g.account);
        } else if (index == 0) {
            problem = _notLive(_idOf(g.account, states[g.account].epoch, packed), Status.None);
        } else {
            grants[index - 1].status = Status.Revoked;
        }
        _call("giveUp", from, address(module), abi.encodeCall(module.giveUp, (g.account, packed)), problem);
    }

    // -------------------------------------------------------------------------------------------------- internal

    /// Grants, and adds to the model what was granted. `problem` is the one there is apart from a repetition.
    function _grantAs(address from, Terms memory terms, uint8 width, address only, bytes memory problem) internal {
        bytes memory packed = pack(terms);
        uint64 epoch = states[from].epoch;
        bytes32 id = _idOf(from, epoch, packed);
        if (problem.length == 0 && indexOf[id] != 0) {
            problem = abi.encodeWithSelector(ISessionKeyValidator.GrantExists.selector, id);
        }
        bytes memory answer = _call("grant", from, address(module), abi.encodeCall(module.grant, (terms)), problem);
        if (problem.length != 0) return;
        _expect(keccak256(answer) == keccak256(abi.encode(id)), "id of grant", answer);
        grants.push(GrantModel(from, epoch, id, Status.Active, width, only, terms, packed));
        indexOf[id] = grants.length;
    }

    function _terms(uint256 seed, uint8 width, address only) internal view returns (Terms memory terms) {
        terms.sessionKey = sessionKeys[(seed >> 24) % sessionKeys.length].addr;
        terms.settler = settler.addr;
        terms.token = address(_token(seed >> 32));
        terms.totalLimit = uint96(200 + (seed >> 40) % 4000);
        if ((seed >> 56) % 2 == 0) {
            terms.periodLimit = uint96(100 + (seed >> 64) % 400);
            terms.period = uint32(60 + (seed >> 80) % 1 hours);
        }
        terms.validAfter = uint48(time - 600 + (seed >> 96) % 700);
        terms.validUntil = uint48(time + 100 + (seed >> 112) % 3 days);
        terms.payeeRoot = _rootOf(width, only);
        terms.source = uint8((seed >> 136) % 2);
        terms.salt = bytes24(uint192(grants.length));
    }

    /// Mostly leaves the terms as they are, else makes one field invalid and says how that is refused.
    function _spoil(Terms memory terms, address from, uint8 flaw) private view returns (bytes memory) {
        address key = terms.sessionKey;
        address[6] memory keys =
            [address(0), from, address(module), address(reserve), terms.token, states[from].guardian];
        flaw = flaw % 24;
        if (flaw < 6) terms.sessionKey = key = keys[flaw];
        if (flaw < 6 || key == from || key == states[from].guardian) {
            return abi.encodeWithSelector(ISessionKeyValidator.InvalidSessionKey.selector, key);
        }
        if (flaw == 6) {
            terms.settler = address(0);
            return abi.encodeWithSelector(ISessionKeyValidator.InvalidSettler.selector, address(0));
        }
        if (flaw == 7) {
            terms.token = address(0);
            return abi.encodeWithSelector(ISessionKeyValidator.InvalidToken.selector, address(0));
        }
        if (flaw == 8) {
            terms.totalLimit = 0;
            return abi.encodeWithSelector(ISessionKeyValidator.InvalidTotalLimit.selector, 0);
        }
        if (flaw == 9) {
            if (terms.period == 0) terms.period = 60;
            else terms.period = 0;
            return abi.encodeWithSelector(ISessionKeyValidator.InvalidPeriod.selector, terms.periodLimit, terms.period);
        }
        if (flaw < 13) {
            if (flaw == 10) terms.validUntil = terms.validAfter - 1;
            if (flaw == 11) (terms.validAfter, terms.validUntil) = (0, uint48(time));
            if (flaw == 12) terms.validUntil = 1 << 47;
            return
                abi.encodeWithSelector(
                    ISessionKeyValidator.InvalidValidity.selector, terms.validAfter, terms.validUntil
                );
        }
        if (flaw == 13) {
            terms.payeeRoot = 0;
            return abi.encodeWithSelector(ISessionKeyValidator.InvalidPayeeRoot.selector, bytes32(0));
        }
        if (flaw == 14) {
            terms.source = 2;
            return abi.encodeWithSelector(ISessionKeyValidator.UnsupportedSource.selector, 2);
        }
        return "";
    }

    /// Also other accounts and session keys, nobody, and seldom the account itself, which is refused.
    function _guardian(uint256 seed, address account_) private view returns (address) {
        uint256 kind = seed % 16;
        if (kind == 0) return account_;
        if (kind == 1) return address(0);
        if (kind < 4) return _anybody(seed / 16);
        return guardians[kind % guardians.length];
    }

    function _notInstalled(address account_) private view returns (bytes memory) {
        if (states[account_].installed) return "";
        return abi.encodeWithSelector(ISessionKeyValidator.NotInstalled.selector, account_);
    }

    function _notAccountOrGuardian(address from, address account_) private view returns (bytes memory) {
        if (from == account_ || from == states[account_].guardian) return "";
        return abi.encodeWithSelector(ISessionKeyValidator.Unauthorized.selector, from, account_);
    }
}
