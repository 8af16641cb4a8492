//! Which functions can be called without the unexpected happening.

/// Functions of the engines themselves that change nothing, or only a sequence or a setting. Every other function may be
/// the user's own.
pub(super) fn is_plain_function(name: &str) -> bool {
    const PLAIN: &str = "\
        abs array_agg array_length array_to_string avg btrim cast ceil ceiling char_length clock_timestamp coalesce \
        concat concat_ws count curdate current_date current_setting current_time current_timestamp currval date \
        date_add date_format date_part date_sub date_trunc datetime dense_rank encode decode exists extract \
        first_value floor format from_unixtime gen_random_uuid greatest group_concat hex if ifnull iif instr json \
        json_agg json_array json_build_object json_extract json_object json_remove json_set json_unquote jsonb_agg \
        jsonb_build_array jsonb_build_object jsonb_set julianday lag last_insert_rowid last_insert_id last_value \
        lastval lead least left length lower lpad ltrim max md5 min mod nextval now nullif octet_length \
        pg_get_serial_sequence position power printf quote_ident quote_literal random randomblob rank regexp_replace \
        repeat replace reverse right round row_number row_to_json rpad rtrim set_config setval sha256 split_part \
        sqrt strftime string_agg strpos substr substring substring_index sum time to_char to_date to_json to_jsonb \
        to_number to_timestamp total trim trunc truncate typeof unhex unix_timestamp unnest upper uuid \
        uuid_generate_v4 year";
    PLAIN.split(' ').any(|plain| plain == name)
}
