-- Claims a session for a turn, unless there is a cached value, and takes slots. ARGV: end
-- of the session's keys, turn, node, lease, end of the value's key, whether the turn is
-- claimed over a value (1), number, kind and data of the first event, and the slots as in
-- slots.lua.
-- Returns what claim does, 2 if only the value is there, or 4 if no slot is free; then the
-- value.
local ending, value, slots = ARGV[2], cachedAt(ARGV[6]), 11
if not slotsFree(slots) then return {4} end
local code = 2
if not value or ARGV[7] == '1' then
  code = claimFirst(ending, ARGV[3], ARGV[4], tonumber(ARGV[5]), 8)
end
if code == 1 or code == 2 then takeSlots(slots) end
return {code, value}
