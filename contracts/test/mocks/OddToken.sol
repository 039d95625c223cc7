// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// What an OddToken does when it is asked to move tokens.
enum Oddity {
    /// Keeps one percent.
    Fee,
    /// Says true, and moves nothing.
    Lie,
    /// Moves them, and returns 2.
    Two,
    /// Moves them, and returns 64 KiB, the first word true.
    LongAnswer,
    /// Reverts with 64 KiB.
    LongRevert,
    /// Uses all gas there is.
    BurnGas
}

/// @title Token with one way of moving tokens that no token should have
contract OddToken is ERC20("Odd", "ODD") {
    Oddity public immutable oddity;

    constructor(Oddity oddity_) {
        oddity = oddity_;
    }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function transfer(address to, uint256 value) public override returns (bool) {
        return _move(msg.sender, to, value);
    }

    function transferFrom(address from, address to, uint256 value) public override returns (bool) {
        _spendAllowance(from, msg.sender, value);
        return _move(from, to, value);
    }

    function _move(address from, address to, uint256 value) private returns (bool) {
        if (oddity == Oddity.Lie) return true;
        if (oddity == Oddity.LongRevert) {
            assembly ("memory-safe") {
                revert(0, 0x10000)
            }
        }
        while (oddity == Oddity.BurnGas) {}
        if (oddity == Oddity.Fee) {
            _transfer(from, address(this), value / 100);
            value -= value / 100;
        }
        _transfer(from, to, value);
        if (oddity == Oddity.Fee) return true;
        (uint256 answer, uint256 size) = oddity == Oddity.Two ? (2, 0x20) : (1, 0x10000);
        // Ends the call: memory is nobody's after it.
        assembly {
            mstore(0, answer)
            return(0, size)
        }
    }
}
