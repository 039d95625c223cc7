-- What one process is at is renewed at once, and is little however many payments there are.
CREATE INDEX x402_payment_lease_owner ON x402_payment (lease_owner) WHERE lease_owner IS NOT NULL;
