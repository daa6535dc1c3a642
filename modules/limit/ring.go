package limit

// minRing is how many events a ring has room for at first.
const minRing = 4

// ring holds the times of the newest events of a key, in Unix nanoseconds,
// oldest first. Its buffer doubles as it fills and halves as it empties, so
// that a key pays for what it did and not for what it may do.
type ring struct {
	buf  []int64
	head int // index of the oldest
	n    int
}

// at returns the i-th oldest event, counting from 0.
func (r *ring) at(i int) int64 {
	i += r.head
	if i >= len(r.buf) {
		i -= len(r.buf)
	}
	return r.buf[i]
}

// newest returns the k-th newest event, counting from 1.
func (r *ring) newest(k int) int64 {
	return r.at(r.n - k)
}

// younger counts the events whose age at time now is below length.
func (r *ring) younger(now, length int64) int64 {
	lo, hi := 0, r.n
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if now-r.at(mid) < length {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return int64(r.n - lo)
}

// push adds an event that is not older than the newest one, and keeps at
// most limit events, the newest ones.
func (r *ring) push(t, limit int64) {
	if over := int64(r.n) - limit + 1; over > 0 {
		r.drop(int(over))
	}
	if r.n == len(r.buf) {
		r.resize(int(min(max(2*int64(len(r.buf)), minRing), limit)))
	}
	i := r.head + r.n
	if i >= len(r.buf) {
		i -= len(r.buf)
	}
	r.buf[i] = t
	r.n++
}

// expire forgets the events whose age at time now is length or more.
func (r *ring) expire(now, length int64) {
	if k := r.n - int(r.younger(now, length)); k > 0 {
		r.drop(k)
	}
}

// drop forgets the k oldest events. The buffer is halved only once it is
// three quarters empty: a ring that goes up and down around one size does
// not copy each time.
func (r *ring) drop(k int) {
	r.n -= k
	r.head += k
	if r.head >= len(r.buf) {
		r.head -= len(r.buf)
	}
	if size := len(r.buf); size > minRing && r.n <= size/4 {
		r.resize(max(2*r.n, minRing))
	}
}

func (r *ring) resize(size int) {
	r.buf = r.appendTo(make([]int64, 0, size))[:size]
	r.head = 0
}

// appendTo appends all events to dst, oldest first.
func (r *ring) appendTo(dst []int64) []int64 {
	first := min(r.n, len(r.buf)-r.head)
	dst = append(dst, r.buf[r.head:r.head+first]...)
	return append(dst, r.buf[:r.n-first]...)
}
