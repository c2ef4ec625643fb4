// Rows in and out of a table, for tests: a word or two instead of a batch.

#ifndef MAINSPRING_TESTS_TABLE_TESTING_H_
#define MAINSPRING_TESTS_TABLE_TESTING_H_

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mainspring/table.h"

namespace mainspring {

// int64 key; floats f0, f1, ...
inline TableSchema FloatSchema(std::size_t width) {
  TableSchema schema;
  schema.keys = {{"id", KeyType::kInt64}};
  for (std::size_t i = 0; i < width; ++i)
    schema.fields.push_back({"f" + std::to_string(i), FieldType::kFloat32, 1});
  return schema;
}

// string key; one string.
inline TableSchema StringSchema() {
  TableSchema schema;
  schema.keys = {{"name", KeyType::kString}};
  schema.fields = {{"text", FieldType::kString, 1}};
  return schema;
}

// Rows whose floats are all values[i], created when they happened.
inline TableStatus Put(OnlineTable* table, const std::vector<std::int64_t>& keys,
                       const std::vector<std::int64_t>& times, const std::vector<float>& values,
                       UpsertResult* result, const std::vector<std::int64_t>* created = nullptr,
                       const std::vector<std::int32_t>* ttl = nullptr) {
  const KeyColumn column{keys.data(), nullptr, nullptr};
  const std::vector<InputColumn> columns(table->schema().fields.size(),
                                         InputColumn{values.data(), nullptr, nullptr});
  UpsertBatch batch;
  batch.keys = {&column, nullptr, keys.size()};
  batch.event_us = times.data();
  batch.created_us = created != nullptr ? created->data() : times.data();
  batch.ttl_seconds = ttl != nullptr ? ttl->data() : nullptr;
  batch.columns = columns.data();
  return table->Upsert(batch, result);
}

inline UpsertResult PutFloats(OnlineTable* table, std::int64_t key, std::int64_t event, std::int64_t created,
                              float x, std::int32_t ttl = 0) {
  UpsertResult result;
  const std::vector<std::int64_t> creations{created};
  const std::vector<std::int32_t> ttls{ttl};
  const TableStatus status = Put(table, {key}, {event}, {x}, &result, &creations, &ttls);
  EXPECT_TRUE(status.ok()) << status.status.expected << " " << status.detail;
  return result;
}

inline UpsertResult DeleteInt(OnlineTable* table, std::int64_t key) {
  UpsertResult result;
  const KeyColumn column{&key, nullptr, nullptr};
  EXPECT_TRUE(table->Delete({&column, nullptr, 1}, &result).ok());
  return result;
}

// The first float of the key's row.
inline float GetFloat(const OnlineTable& table, std::int64_t key, std::int64_t now_us,
                      RowStatus* status = nullptr, std::int64_t max_age_us = kNoMaxAge) {
  FieldSelection selection;
  EXPECT_TRUE(table.Select({0}, &selection).ok());
  const KeyColumn column{&key, nullptr, nullptr};
  float x = 0;
  std::uint8_t found = 9;
  std::int64_t event_us = 0;
  ReadBatch batch;
  batch.keys = {&column, nullptr, 1};
  batch.now_us = now_us;
  batch.max_age_us = max_age_us;
  batch.matrix = &x;
  batch.status = &found;
  batch.event_us = &event_us;
  ReadWorkspace workspace;
  table.Get(selection, batch, &workspace);
  if (status != nullptr) *status = static_cast<RowStatus>(found);
  return x;
}

inline TableStatus PutString(OnlineTable* table, const std::string& key, std::int64_t event,
                             const std::string& value) {
  const std::int64_t key_offsets[2] = {0, static_cast<std::int64_t>(key.size())};
  const std::int64_t offsets[2] = {0, static_cast<std::int64_t>(value.size())};
  const KeyColumn key_column{nullptr, key_offsets, key.data()};
  const InputColumn column{value.data(), offsets, nullptr};
  UpsertBatch batch;
  batch.keys = {&key_column, nullptr, 1};
  batch.event_us = batch.created_us = &event;
  batch.columns = &column;
  UpsertResult result;
  return table->Upsert(batch, &result);
}

inline RowStatus GetString(const OnlineTable& table, const std::string& key, std::int64_t now_us,
                           std::string* value) {
  FieldSelection selection;
  EXPECT_TRUE(table.Select({0}, &selection).ok());
  const std::int64_t offsets[2] = {0, static_cast<std::int64_t>(key.size())};
  const KeyColumn key_column{nullptr, offsets, key.data()};
  StringColumn strings;
  OutputColumn out;
  out.strings = &strings;
  std::uint8_t status = 9;
  std::int64_t event_us = 0;
  ReadBatch batch;
  batch.keys = {&key_column, nullptr, 1};
  batch.now_us = now_us;
  batch.columns = &out;
  batch.status = &status;
  batch.event_us = &event_us;
  ReadWorkspace workspace;
  table.Get(selection, batch, &workspace);
  value->assign(strings.bytes.data(), strings.bytes.size());
  return static_cast<RowStatus>(status);
}

}  // namespace mainspring

#endif  // MAINSPRING_TESTS_TABLE_TESTING_H_
