-- Prices by use: how the price of a call comes about, other prices for some requests, and how long a stream waits for a voucher.
-- JSON as pricingSchema(0) of the protocol has it: prices in base units.

ALTER TABLE service
  ADD COLUMN pricing jsonb NOT NULL DEFAULT '{"kind": "call"}'
    CHECK (jsonb_typeof(pricing) = 'object' AND pricing ->> 'kind' IN ('call', 'unit', 'token', 'byte', 'second')),
  ADD COLUMN routes jsonb NOT NULL DEFAULT '[]'
    CHECK (jsonb_typeof(routes) = 'array' AND jsonb_array_length(routes) <= 100),
  ADD COLUMN voucher_grace_ms integer NOT NULL DEFAULT 10000 CHECK (voucher_grace_ms BETWEEN 0 AND 120000);
