-- A revocation list is replaced in its place by one with a higher number, and in no other way.
-- Why: whoever could change the key of a row could move a list away and put a lower number where it was; and
-- NaN is above every number, so that no list could have followed it.
-- Old code tolerates it: it publishes by INSERT … ON CONFLICT DO UPDATE of these columns.

ALTER TABLE crls ADD CHECK (crl_number <> 'NaN');
REVOKE UPDATE ON crls FROM portcullis_operator;
GRANT UPDATE (crl_number, this_update, next_update, der) ON crls TO portcullis_operator;
