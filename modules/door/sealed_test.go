package door

import (
	"testing"
)

type secret struct {
	A string `json:"a"`
}

func TestSeal(t *testing.T) {
	var got secret
	s := Seal(secret{"ü"})
	if !Unseal(s, &got) || got.A != "ü" || !Sealed([]byte(`{"x":"`+s+`"}`)) {
		t.Errorf("%s holds %+v", s, got)
	}
	for _, other := range []string{"", "c2ln", sealPrefix, sealPrefix + "%", sealPrefix + "e30x", "x" + s} {
		if Unseal(other, &got) {
			t.Errorf("%q is no seal", other)
		}
	}
	for _, body := range []string{`{"x":"c2ln"}`, `{"x":"begins with cch1_"}`, `{"x":"\"cch1_\""}`, `{"cch":"1_"}`} {
		if Sealed([]byte(body)) {
			t.Errorf("nothing is sealed in %s", body)
		}
	}
	for _, body := range []string{`{"x":"says cch1_", "y" : "` + s + `"}`, `{"id":"` + SealID("call_1", secret{"x"}) + `"}`} {
		if !Sealed([]byte(body)) {
			t.Errorf("something is sealed in %s", body)
		}
	}
}

func TestSealID(t *testing.T) {
	var got secret
	for _, id := range []string{"call_1", "a__b", SealID("a", secret{"x"})} {
		if back, ok := UnsealID(SealID(id, secret{"y"}), &got); !ok || back != id || got.A != "y" {
			t.Errorf("%s came back as %s with %+v", id, back, got)
		}
	}
	for _, id := range []string{"", "call_1", "a__" + sealPrefix + "%"} {
		if back, ok := UnsealID(id, &got); ok || back != id {
			t.Errorf("%q came back as %q, %t", id, back, ok)
		}
	}
}
