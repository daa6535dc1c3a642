-- Claims a session for a turn and takes slots, unless there is a cached value. ARGV: end
-- of the session's keys, turn, node, lease, end of the value's key, whether the turn is
-- claimed over a value (1), number, kind and data of the first event, and the slots as in
-- slots.lua.
-- Returns what claim does, 2 if only the value is there, or 4 if no slot is free; then the
-- value.
local ending, value, slots = ARGV[2], cachedAt(ARGV[6]), 11
if value and ARGV[7] ~= '1' then return {2, value} end
if claimable(read(ending), ARGV[3]) == 1 and not slotsFree(slots) then return {4} end
local code = claimFirst(ending, ARGV[3], ARGV[4], tonumber(ARGV[5]), 8)
if code == 1 then takeSlots(slots) end
return {code, value}
