package splice

import "testing"

// TestDisguises has names that servers which ignore case would take for members that the
// gateway has counted.
func TestDisguises(t *testing.T) {
	for body, want := range map[string]string{
		`{"model":"a","max_tokens":1,"n":1}`:                          `{"model":"a","max_tokens":1,"n":1}`,
		`{"model":"a","Model":"b"}`:                                   `{"model":"a"}`,
		`{"Max_Tokens":9,"model":"a","max_tokens":1}`:                 `{"model":"a","max_tokens":1}`,
		`{"model":"a","N":9,"Best_Of":9,"n":1}`:                       `{"model":"a","n":1}`,
		`{"model":"a","MAX\u005fCOMPLETION_TOKENS":9}`:                `{"model":"a"}`,
		`{"model":"a","max_to` + "\u212a" + `ens":9}`:                 `{"model":"a"}`, // a Kelvin sign
		`{"model":"a","Max_Output_Tokens":9,"Service_Tier":"flex"}`:   `{"model":"a"}`,
		`{"model":"a","Stream":true,"Store":true,"SPEED":"fast"}`:     `{"model":"a"}`,
		`{"model":"a","maxTokens":1,"Temperature":1,"x":{"Model":1}}`: `{"model":"a","maxTokens":1,"Temperature":1,"x":{"Model":1}}`,
	} {
		if _, got, err := MembersOf([]byte(body)); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v, want %s", body, got, err, want)
		}
	}
}
