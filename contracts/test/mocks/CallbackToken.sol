// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title Token that makes one call before it transfers, and may refuse the transfer after it
contract CallbackToken is ERC20("Callback", "CALL") {
    address private _target;
    bytes private _data;
    bool private _refuses;

    /// The next transfer or transferFrom calls `target` with `data`.
    function callNext(address target, bytes calldata data) external {
        (_target, _data) = (target, data);
    }

    /// The next transfer that has a call to make returns false after it.
    function refuseNext() external {
        _refuses = true;
    }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function transfer(address to, uint256 value) public override returns (bool) {
        return !_callBack() && super.transfer(to, value);
    }

    function transferFrom(address from, address to, uint256 value) public override returns (bool) {
        return !_callBack() && super.transferFrom(from, to, value);
    }

    /// Whether the transfer is refused.
    function _callBack() private returns (bool refuses) {
        if (_target == address(0)) return false;
        address target = _target;
        bytes memory data = _data;
        refuses = _refuses;
        (_target, _refuses) = (address(0), false);
        (bool success,) = target.call(data);
        require(success, "callback failed");
    }
}
