import { EntitySchema } from 'typeorm';

export type Role = 'cpo' | 'app' | 'ingest';

export type TokenRow = {
  id: string;
  role: Role;
  cpoId: string | null;
  /** The name of the app, or of the pipeline for the role `ingest`. */
  appName: string | null;
  hash: Buffer;
  createdAt: Date;
  expiresAt: Date;
  revokedAt: Date | null;
  lastUsedAt: Date | null;
  /** The id of the token that this one was rotated from. */
  replaces: string | null;
};

export const tokens = new EntitySchema<TokenRow>({
  name: 'tokens',
  columns: {
    id: { type: 'uuid', primary: true, primaryKeyConstraintName: 'tokens_pkey' },
    role: { type: 'text' },
    cpoId: { name: 'cpo_id', type: 'uuid', nullable: true },
    appName: { name: 'app_name', type: 'text', nullable: true },
    hash: { type: 'bytea' },
    createdAt: { name: 'created_at', type: 'timestamptz', precision: 3, default: () => 'now()' },
    expiresAt: { name: 'expires_at', type: 'timestamptz', precision: 3 },
    revokedAt: { name: 'revoked_at', type: 'timestamptz', precision: 3, nullable: true },
    lastUsedAt: { name: 'last_used_at', type: 'timestamptz', precision: 3, nullable: true },
    replaces: { type: 'uuid', nullable: true },
  },
  uniques: [{ name: 'tokens_hash_key', columns: ['hash'] }],
  indices: [{ name: 'tokens_replaces_idx', columns: ['replaces'], where: 'replaces is not null' }],
  checks: [
    { name: 'tokens_role_check', expression: `role in ('cpo', 'app', 'ingest')` },
    {
      name: 'tokens_owner_check',
      expression: `(role = 'cpo') = (cpo_id is not null) and (role <> 'cpo') = (app_name is not null)`,
    },
  ],
  foreignKeys: [{ name: 'tokens_cpo_id_fkey', target: 'cpos', columnNames: ['cpoId'], referencedColumnNames: ['id'] }],
});
