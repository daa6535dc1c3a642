package limit

import (
	"encoding/json"
	"testing"
	"time"
)

func TestParseRule(t *testing.T) {
	for _, tc := range []struct {
		name     string
		in       string
		windowed bool
		want     Rule
		text     string // String, where it is not in
		err      string
	}{
		{name: "counts per user by default", in: "60 1m", windowed: true, want: Rule{60, time.Minute, ScopeUser}},
		{name: "per user may be said", in: "60 1m per user", windowed: true, want: Rule{60, time.Minute, ScopeUser}, text: "60 1m"},
		{name: "per tenant", in: "1000 1m per tenant", windowed: true, want: Rule{1000, time.Minute, ScopeTenant}},
		{name: "per ip", in: "5 1s per ip", windowed: true, want: Rule{5, time.Second, ScopeIP}},
		{
			name: "per placeholder", in: "20 10s per {http.request.header.X-Team}", windowed: true,
			want: Rule{20, 10 * time.Second, "{http.request.header.X-Team}"},
		},
		{name: "without a window", in: "10", want: Rule{10, 0, ScopeUser}},
		{name: "without a window, per tenant", in: "10 per tenant", want: Rule{10, 0, ScopeTenant}},
		{name: "any white space", in: "\t10   per\ttenant ", want: Rule{10, 0, ScopeTenant}, text: "10 per tenant"},
		{name: "days", in: "1 366d", windowed: true, want: Rule{1, 366 * 24 * time.Hour, ScopeUser}},
		{name: "days and hours", in: "1 1d12h", windowed: true, want: Rule{1, 36 * time.Hour, ScopeUser}, text: "1 36h"},
		{name: "half a day", in: "1 0.5d", windowed: true, want: Rule{1, 12 * time.Hour, ScopeUser}, text: "1 12h"},
		{name: "hours and minutes", in: "1 1h30m", windowed: true, want: Rule{1, 90 * time.Minute, ScopeUser}},
		{name: "hours and seconds", in: "1 1h0m5s", windowed: true, want: Rule{1, time.Hour + 5*time.Second, ScopeUser}},
		{name: "the smallest", in: "1 1ms", windowed: true, want: Rule{1, time.Millisecond, ScopeUser}},
		{name: "the largest", in: "1000000000 1s", windowed: true, want: Rule{1e9, time.Second, ScopeUser}},

		{name: "empty", in: " ", windowed: true, err: `rule is empty: want LIMIT WINDOW [per SCOPE], such as "60 1m per user"`},
		{name: "empty without a window", in: "", err: `rule is empty: want LIMIT [per SCOPE], such as "10 per user"`},
		{name: "limit no number", in: "abc 1m", windowed: true, err: `limit "abc": want a whole number of at least 1`},
		{name: "limit zero", in: "0 1m", windowed: true, err: `limit "0": want a whole number of at least 1`},
		{name: "limit negative", in: "-1 1m", windowed: true, err: `limit "-1": want a whole number of at least 1`},
		{name: "limit with a sign", in: "+1", err: `limit "+1": want a whole number of at least 1`},
		{name: "limit fractional", in: "1.5", err: `limit "1.5": want a whole number of at least 1`},
		{name: "limit too large", in: "1000000001", err: `limit "1000000001": want at most 1000000000`},
		{name: "limit far too large", in: "99999999999999999999", err: `limit "99999999999999999999": want at most 1000000000`},
		{name: "window missing", in: "60", windowed: true, err: "window is missing: want a duration such as 30s or 1m"},
		{name: "window missing before per", in: "60 per ip", windowed: true, err: "window is missing: want a duration such as 30s or 1m"},
		{name: "window unknown unit", in: "60 1x", windowed: true, err: `window "1x": want a duration such as 30s or 1m`},
		{name: "window without a unit", in: "60 60", windowed: true, err: `window "60": want a duration such as 30s or 1m`},
		{name: "window days without a number", in: "60 d", windowed: true, err: `window "d": want a duration such as 30s or 1m`},
		{name: "window zero", in: "60 0", windowed: true, err: `window "0": want a duration from 1ms to 366d`},
		{name: "window negative", in: "60 -1m", windowed: true, err: `window "-1m": want a duration from 1ms to 366d`},
		{name: "window too short", in: "60 999us", windowed: true, err: `window "999us": want a duration from 1ms to 366d`},
		{name: "window too long", in: "60 367d", windowed: true, err: `window "367d": want a duration from 1ms to 366d`},
		{name: "window where there is none", in: "10 1m", err: `unexpected "1m": want LIMIT [per SCOPE], such as "10 per user"`},
		{name: "per misspelt", in: "60 1m by ip", windowed: true, err: `unexpected "by": want LIMIT WINDOW [per SCOPE], such as "60 1m per user"`},
		{name: "per nothing", in: "60 1m per", windowed: true, err: `"per" wants user, ip, tenant or a placeholder`},
		{name: "per unknown", in: "60 1m per team", windowed: true, err: `"per" wants user, ip, tenant or a placeholder`},
		{name: "per empty placeholder", in: "60 1m per {}", windowed: true, err: `"per" wants user, ip, tenant or a placeholder`},
		{name: "per too much", in: "60 1m per user ip", windowed: true, err: `"per" wants user, ip, tenant or a placeholder`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseRule(tc.in, tc.windowed)
			if tc.err != "" {
				if err == nil || err.Error() != tc.err {
					t.Fatalf("got %v, error %v; want error %s", got, err, tc.err)
				}
				return
			}
			if err != nil || got != tc.want {
				t.Fatalf("got %+v, error %v; want %+v", got, err, tc.want)
			}
			if tc.text == "" {
				tc.text = tc.in
			}
			if got.String() != tc.text {
				t.Errorf("String is %q, want %q", got.String(), tc.text)
			}
		})
	}
}

func TestRuleAsJSON(t *testing.T) {
	var got []Rule
	if err := json.Unmarshal([]byte(`["60 1m per ip","10","10 per tenant"]`), &got); err != nil {
		t.Fatal(err)
	}
	want := []Rule{{60, time.Minute, ScopeIP}, {10, 0, ScopeUser}, {10, 0, ScopeTenant}}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
	out, err := json.Marshal(got)
	if err != nil || string(out) != `["60 1m per ip","10","10 per tenant"]` {
		t.Errorf("got %s, error %v", out, err)
	}

	var r Rule
	err = r.UnmarshalText([]byte("10 1x"))
	if err == nil || err.Error() != `window "1x": want a duration such as 30s or 1m` {
		t.Errorf("got error %v", err)
	}
}

func FuzzParseRule(f *testing.F) {
	for _, s := range []string{
		"60 1m", "1000 1m per tenant", "20 10s per {http.request.header.X-Team}", "10", "10 per tenant",
		"1 366d", "1 0.1d", "1 1d1ms", "1 1h0m5s", "1 1.0000001s", "1 -1d", "1 1e5d", "1 .d", "0 0 per {}",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, windowed bool) {
		r, err := ParseRule(s, windowed)
		if err != nil {
			return
		}
		if r.Limit < 1 || r.Limit > maxLimit || windowed && (r.Window < minWindow || r.Window > maxWindow) || !windowed && r.Window != 0 {
			t.Fatalf("%q gave %+v", s, r)
		}
		again, err := ParseRule(r.String(), windowed)
		if err != nil || again != r {
			t.Fatalf("%q gave %+v, whose text %q gave %+v, error %v", s, r, r, again, err)
		}
		var u Rule
		if err := u.UnmarshalText([]byte(s)); err != nil || u != r {
			t.Fatalf("%q unmarshalled is %+v, error %v; want %+v", s, u, err, r)
		}
	})
}
