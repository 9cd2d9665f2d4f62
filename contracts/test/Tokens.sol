// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {PotVault} from "../src/PotVault.sol";

/// @notice A token as it should be.
contract PlainToken is ERC20("Plain", "PLN") {
    constructor(uint256 amount) {
        _mint(msg.sender, amount);
    }
}

/// @notice Keeps one percent of every transfer.
contract FeeToken is ERC20("Fee", "FEE") {
    constructor(uint256 amount) {
        _mint(msg.sender, amount);
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (from != address(0) && to != address(0)) super._update(to, address(0xfee), value / 100);
    }
}

/// @notice Keeps everything.
contract GreedyToken is ERC20("Greedy", "GRD") {
    constructor(uint256 amount) {
        _mint(msg.sender, amount);
    }

    function transferFrom(address, address, uint256) public pure override returns (bool) {
        return true;
    }
}

/// @notice Answers false instead of reverting.
contract FalseToken is ERC20("False", "FLS") {
    function transferFrom(address, address, uint256) public pure override returns (bool) {
        return false;
    }
}

/// @notice Calls back into the vault in the middle of a transfer, as ERC-777 lets a receiver do.
contract HookToken is ERC20("Hook", "HOK") {
    PotVault private _vault;

    constructor(uint256 amount) {
        _mint(msg.sender, amount);
    }

    function attack(PotVault vault) external {
        _vault = vault;
    }

    function transferFrom(address from, address to, uint256 value) public override returns (bool) {
        _update(from, to, value);
        if (address(_vault) != address(0)) _vault.depositToken(address(this), 1);
        return true;
    }
}

/// @notice A payee that withdraws again while it is being paid, or refuses the coins.
contract Payee {
    PotVault private immutable _vault;
    bool private immutable _refuses;

    error Refused();

    constructor(PotVault vault, bool refuses) {
        _vault = vault;
        _refuses = refuses;
    }

    function withdraw() external {
        _vault.withdraw();
    }

    receive() external payable {
        if (_refuses) revert Refused();
        _vault.withdraw(1);
    }
}
