-- Copies the chain's state of one account and token into the meter. The twin of mirrorGrant in transitions.ts.
--
-- KEYS: account, exposure, then one key for each grant
-- ARGV: JSON {token, block, funds: {allowance, reserve}, restores, grants: [{..., ended, channels: [{payee, authorized,
-- charged, settled, status}]}]}; amounts are decimal strings below 2^53, grants in the order of their keys; how long what has
-- ended stays, in milliseconds.
-- Answers 1, or 0 when the mirror is older than what is known.
--
-- A grant that owes nothing, and whose charges the journal has, is given the time at which it leaves by itself: `retention` after
-- its end. The field `leaves` says so to the charge that keeps it after all. What owes does not leave: the account's sums
-- count it.
local accountKey, exposureKey = KEYS[1], KEYS[2]
local state, retentionMs = cjson.decode(ARGV[1]), tonumber(ARGV[2])
local token = state.token
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
-- Beyond all that is a date: in milliseconds the ends of grants may be above 2^53.
local never = 1e15

local function text(number) return string.format('%.0f', number) end

-- Fields of the allowance carry the token alone, as they did before there was a reserve.
local pools = {allowance = token, reserve = token .. ':reserve'}
local a = redis.call('HMGET', accountKey, 'block:' .. token, 'outstanding:' .. pools.allowance,
  'outstanding:' .. pools.reserve)
if a[1] and tonumber(state.block) < tonumber(a[1]) then return 0 end
local outstanding = {allowance = tonumber(a[2] or 0), reserve = tonumber(a[3] or 0)}

-- Each answers when the hash leaves; nil: it stays.
local function keep(key, leaves)
  if leaves then
    redis.call('PERSIST', key)
    redis.call('HDEL', key, 'leaves')
  end
end
local function leave(key, endMs)
  redis.call('HSET', key, 'leaves', '1')
  -- What has ended leaves no later for being mirrored again.
  if endMs == nowMs then
    redis.call('PEXPIREAT', key, text(endMs + retentionMs), 'LT')
  else
    redis.call('PEXPIREAT', key, text(endMs + retentionMs))
  end
  return endMs
end

local function mirror(grantKey, mirrored)
  local known = {}
  local stored = redis.call('HGETALL', grantKey)
  -- What has left is not brought back by the way.
  if #stored == 0 and mirrored.ended and not state.restores then return nowMs end
  for i = 1, #stored, 2 do known[stored[i]] = stored[i + 1] end
  local before = tonumber(known.owed or 0)

  local function set(field, value)
    known[field] = value
    redis.call('HSET', grantKey, field, value)
  end
  local journalled = {}
  for _, channel in ipairs(mirrored.channels) do journalled['charged:' .. channel.payee] = tonumber(channel.charged) end
  local isJournalled = true
  for field, value in pairs(known) do
    if string.sub(field, 1, 8) == 'charged:' and tonumber(value) > (journalled[field] or 0) then isJournalled = false end
  end
  for _, channel in ipairs(mirrored.channels) do
    local payee = channel.payee
    local authorized = tonumber(known['authorized:' .. payee] or 0)
    local charged = tonumber(known['charged:' .. payee] or 0)
    -- The journal has the newest voucher: events need not carry it any more.
    if tonumber(channel.authorized) >= authorized then redis.call('HDEL', grantKey, 'voucher:' .. payee) end
    set('authorized:' .. payee, text(math.max(authorized, tonumber(channel.authorized))))
    set('charged:' .. payee, text(math.max(charged, tonumber(channel.charged))))
    set('settled:' .. payee, channel.settled)
    set('status:' .. payee, channel.status)
  end

  redis.call('HSET', grantKey, 'limits', mirrored.limits)
  for payee, limits in pairs(mirrored.payeeLimits) do redis.call('HSET', grantKey, 'limits:' .. payee, limits) end
  for field in pairs(known) do
    local payee = string.match(field, '^limits:(.+)$')
    if payee and not mirrored.payeeLimits[payee] then redis.call('HDEL', grantKey, field) end
  end

  local owed = 0
  for field, value in pairs(known) do
    local payee = string.match(field, '^charged:(.+)$')
    if payee then
      local owedToPayee = math.max(0, tonumber(value) - tonumber(known['settled:' .. payee] or 0))
      owed = owed + owedToPayee
      local exposed = owedToPayee - tonumber(known['exposed:' .. payee] or 0)
      if mirrored.source ~= 'reserve' and exposed ~= 0 then
        redis.call('HSET', grantKey, 'exposed:' .. payee, text(owedToPayee))
        redis.call('HINCRBY', accountKey, 'exposure:' .. token .. ':' .. payee, text(exposed))
        redis.call('HINCRBY', exposureKey, 'used:' .. token .. ':' .. payee, text(exposed))
      end
    end
  end
  redis.call('HSET', grantKey, 'token', token, 'source', mirrored.source, 'owed', text(owed), 'status', mirrored.status,
    'validAfter', mirrored.validAfter, 'validUntil', mirrored.validUntil, 'totalLimit', mirrored.totalLimit,
    'periodLimit', mirrored.periodLimit, 'period', mirrored.period, 'settled', mirrored.settled,
    'periodIndex', mirrored.periodIndex, 'periodSettled', mirrored.periodSettled)
  outstanding[mirrored.source] = outstanding[mirrored.source] + owed - before

  if owed > 0 or not isJournalled then return keep(grantKey, known.leaves) end
  local endMs = math.min(never, mirrored.validUntil * 1000)
  return leave(grantKey, (mirrored.status == 'revoked' or endMs <= nowMs) and nowMs or endMs)
end

local accountEndMs = nowMs
for index, mirrored in ipairs(state.grants) do
  local endMs = mirror(KEYS[index + 2], mirrored)
  if not endMs then accountEndMs = nil elseif accountEndMs then accountEndMs = math.max(accountEndMs, endMs) end
end

redis.call('HSET', accountKey, 'block:' .. token, state.block)
for source, pool in pairs(pools) do
  redis.call('HSET', accountKey, 'funds:' .. pool, state.funds[source], 'outstanding:' .. pool, text(outstanding[source]))
end
local function countsOtherTokens()
  for _, field in ipairs(redis.call('HKEYS', accountKey)) do
    if string.sub(field, 1, 6) == 'block:' and field ~= 'block:' .. token then return true end
  end
  return false
end
-- Its grants leave with it, or before it.
if accountEndMs and outstanding.allowance == 0 and outstanding.reserve == 0 and not countsOtherTokens() then
  leave(accountKey, accountEndMs)
else
  keep(accountKey, redis.call('HGET', accountKey, 'leaves'))
end
return 1
